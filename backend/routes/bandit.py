"""The bandit of the paper's Section 5, simulated while the request waits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import plotly.graph_objects as go
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from backend.bandit_presets import PRESETS, BanditPreset
from backend.errors import NotFound
from backend.figures import bandit as figures
from backend.figures import bandit_tables
from backend.routes.figure_answers import PICTURES, RESPONSES, Format, file
from backend.schemas.figures import FigureOut
from copg_core.bandit import BanditAlgorithm, BanditConfig
from copg_core.bandit_result import POINTS, BanditResult, run_bandit

router = APIRouter(tags=["bandit"])

SIMULATIONS = CapacityLimiter(2)
"""Threads for experiments, which take seconds and hundreds of megabytes where they are large: more at once would take both from
whoever looks at curves."""
Points = Annotated[int, Query(ge=2, le=5000, description="At most this many recorded steps.")]
ScaleOf = Annotated[figures.Scale, Query(description="Of the regret's axis.")]


class BanditRow(BaseModel):
    """What a table says of one algorithm."""

    model_config = ConfigDict(extra="forbid")
    algorithm: BanditAlgorithm
    title: str
    regret: float = Field(description="J(pi*) - J(pi) after the last step, reward units, mean over seeds")
    regret_stderr: float | None = Field(description="standard error over seeds; null for one seed")
    limit_regret: float | None = Field(
        description="regret after infinitely many steps; null where nothing determines it"
    )
    limit_reason: str = Field(description="why the limit lies where it does")
    final_policy: list[float] = Field(description="probability of each arm after the last step, mean over seeds")


class BanditFigures(BaseModel):
    """What the page shows of one experiment."""

    model_config = ConfigDict(extra="forbid")
    steps: int = Field(description="optimizer steps of the whole experiment")
    seeds: int
    start_regret: float = Field(description="regret of the reference, reward units")
    optimal_policy: list[float] = Field(description="pi* = pi_ref exp(R / beta) / Z")
    optimal_value: float = Field(description="J(pi*) = beta ln Z, reward units")
    rows: list[BanditRow]
    figures: dict[str, dict[str, Any]] = Field(
        description="Plotly figures by name: regret, simplex (three arms only), policies, frontier"
    )


class BanditPresets(BaseModel):
    """Experiments worth looking at, the paper's first."""

    items: list[BanditPreset]


@router.post("/bandit", response_model=BanditResult)
async def simulate_bandit(config: BanditConfig, points: Points = POINTS) -> Response:
    """Train every algorithm on one bandit. Nothing is stored; whatever is not given is the paper's."""
    return await to_thread.run_sync(lambda: _json(run_bandit(config, points)), limiter=SIMULATIONS)


@router.post(
    "/bandit/figures",
    response_model=BanditFigures,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
async def draw_bandit(
    config: BanditConfig,
    points: Points = POINTS,
    scale: ScaleOf = "linear",
    format: Annotated[  # noqa: A002
        Literal["json", "csv"],
        Query(description="Figures, or the curves as CSV. A picture shows one figure: `/bandit/figures/{name}`."),
    ] = "json",
) -> Response:
    """The same experiment as figures and a table, in one round trip."""
    return await to_thread.run_sync(lambda: _drawn(config, points, scale, format), limiter=SIMULATIONS)


@router.post("/bandit/figures/{name}", response_model=FigureOut, responses=RESPONSES)
async def draw_bandit_figure(
    name: figures.FigureName,
    config: BanditConfig,
    points: Points = POINTS,
    scale: ScaleOf = "linear",
    format: Format = "json",  # noqa: A002
) -> Response:
    """One figure of an experiment; the simplex only for three arms."""
    if name not in figures.names_of(config):
        raise NotFound(f"an experiment with {len(config.rewards)} arms has no {name}: give it three rewards")

    result = await to_thread.run_sync(run_bandit, config, points, limiter=SIMULATIONS)

    def make() -> Response:
        drawn = figures.draw_one(name, config, result, scale)
        if format != "json":
            return file(format, f"bandit-{name}", go.Figure(drawn), lambda: bandit_tables.as_csv(name, config, result))
        return _json(FigureOut(figure=drawn, cursor="", fence=0, empty=False))

    return await to_thread.run_sync(make, limiter=PICTURES if format in ("svg", "png") else SIMULATIONS)


@router.get("/bandit/presets", response_model=BanditPresets)
def list_bandit_presets() -> BanditPresets:
    """Experiments to start from."""
    return BanditPresets(items=PRESETS)


def _drawn(config: BanditConfig, points: int, scale: figures.Scale, format: Literal["json", "csv"]) -> Response:  # noqa: A002
    result = run_bandit(config, points)
    if format == "csv":
        return Response(
            bandit_tables.curves(result),
            media_type="text/csv",
            headers={"Content-Disposition": 'attachment; filename="bandit.csv"'},
        )
    rows = []
    for name, curve in result.algorithms.items():
        end, error = figures.end_of(curve)
        rows.append(
            BanditRow(
                algorithm=name,
                title=figures.NAMES[name],
                regret=end,
                regret_stderr=error,
                limit_regret=curve.limit_regret,
                limit_reason=curve.limit_reason,
                final_policy=curve.final_policy,
            )
        )
    answer = BanditFigures(
        steps=config.steps,
        seeds=config.seeds,
        start_regret=next(iter(result.algorithms.values())).regret_mean[0],
        optimal_policy=result.optimal_policy,
        optimal_value=result.optimal_value,
        rows=rows,
        figures=figures.draw(config, result, scale),
    )
    return _json(answer)


def _json(answer: BaseModel) -> Response:
    """Made in the thread that simulated: to check and write thousands of numbers would hold up the event loop."""
    return Response(answer.model_dump_json(), media_type="application/json")
