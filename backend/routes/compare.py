"""Runs side by side: groups, differences to a baseline, and the paper's figures of them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend import comparison_scores, comparison_table, sweeps
from backend.comparisons import MOST_RUNS, Comparison, Measure, load
from backend.errors import Invalid, NotFound
from backend.figures import catalogue, tails
from backend.figures import compare as figures
from backend.models import TRIAL, Run
from backend.models_sweeps import SweepMember
from backend.routes.context import Context, Studio
from backend.routes.figure_answers import RESPONSES, Format, file
from backend.schemas.compare import CompareOut
from backend.schemas.figures import FigureOut, FigureTails, TraceTail
from backend.statistics import Band

router = APIRouter(prefix="/compare", tags=["compare"])

Runs = Annotated[list[str] | None, Query(description=f"Id of a run; given once for each, at most {MOST_RUNS} times.")]
SweepId = Annotated[str | None, Query(description="Id of a sweep, in the place of its runs.")]
Target = Annotated[
    float | None, Query(allow_inf_nan=False, description="Of the figures of time and cost: the reward to reach.")
]
Smoothing = Annotated[
    int,
    Query(
        ge=0,
        le=100,
        description="Of the figures `reward` and `best`: evaluations on either side that a local linear fit with tricube weights "
        "is made of, drawn over what was measured. 0 draws what was measured alone.",
    ),
]
BandOf = Annotated[
    Band,
    Query(
        description="Of the figures with bands or bars: one standard error to either side, or the 95 % interval of the mean by Student's "
        "t, over the seeds of a group, or over prompts where there is one seed."
    ),
]
Algorithm = Annotated[
    str | None,
    Query(
        max_length=40,
        description="Of these runs those of one algorithm, told apart by beta. None: all, told apart by algorithm.",
    ),
]
State = tuple[tuple[str, int], ...]
"""The runs and the `rev` of each: an answer for it is never out of date."""
MeasureOf = Annotated[Measure, Query(description="The reward that is maximised, or the gold reward beside it.")]


@router.get("", response_model=CompareOut)
def compare_runs(
    context: Context,
    run: Runs = None,
    sweep: SweepId = None,
    measure: MeasureOf = "reward",
    baseline: Annotated[
        str | None,
        Query(
            description="Id of a group, or `reference`: the policy before training. None, or one that is not there: the first of `baselines`."
        ),
    ] = None,
) -> Response:
    """Groups of runs that differ only by seed, with paired differences to a baseline over the same prompts."""
    state, comparison = _seen(context, run, sweep)

    def make() -> bytes:
        with context.database.snapshot() as session:
            seen = comparison_table.table(
                comparison, measure, baseline, lambda wanted: comparison_scores.read(session, wanted)
            )
        return seen.model_dump_json().encode()

    return Response(
        context.compared.get((state, measure, baseline and baseline[:40]), make), media_type="application/json"
    )


@router.get(
    "/figures/{name}",
    response_model=FigureOut,
    responses=RESPONSES,
)
def get_compare_figure(
    name: figures.FigureName,
    context: Context,
    run: Runs = None,
    sweep: SweepId = None,
    measure: MeasureOf = "reward",
    target: Target = None,
    smoothing: Smoothing = 0,
    band: BandOf = "stderr",
    algorithm: Algorithm = None,
    format: Format = "json",  # noqa: A002
) -> Response:
    """One figure of a comparison. Of very many evaluations every second, fourth, eighth… is drawn; the CSV has all."""
    state, comparison = _seen(context, run, sweep)
    look = _look(comparison, figures.Look(name, measure, target, smoothing, band, algorithm))
    if format != "json":
        drawn = figures.draw(comparison, look, whole=format == "csv")
        named = f"compare-{name}" + (f"-{algorithm}" if algorithm else "")
        return file(format, named, drawn, lambda: figures.as_csv(drawn))
    return Response(_figure(context, state, comparison, look), media_type="application/json")


@router.get("/figures/{name}/points", response_model=FigureTails)
def get_compare_figure_points(
    name: figures.FigureName,
    context: Context,
    after: Annotated[
        str, Query(pattern=tails.PATTERN, max_length=12_000, description="`cursor` of the answer before.")
    ],
    run: Runs = None,
    sweep: SweepId = None,
    measure: MeasureOf = "reward",
    target: Target = None,
    smoothing: Smoothing = 0,
    band: BandOf = "stderr",
    algorithm: Algorithm = None,
) -> FigureTails:
    """How the curves of a figure that was fetched before go on."""
    state, comparison = _seen(context, run, sweep)
    look = _look(comparison, figures.Look(name, measure, target, smoothing, band, algorithm))
    drawn = FigureOut.model_validate_json(_figure(context, state, comparison, look))
    ends = tails.after(drawn.figure, after)
    found = [] if ends is None else [TraceTail.model_validate(end) for end in ends]
    return FigureTails(cursor=drawn.cursor, reset=ends is None, traces=found)


def _look(comparison: Comparison, look: figures.Look) -> figures.Look:
    """Raises Invalid for an algorithm that none of the runs has."""
    known = list(dict.fromkeys(group.algorithm for group in comparison.groups))
    if look.algorithm is not None and look.algorithm not in known:
        raise Invalid.field(
            "algorithm", f"none of these runs is of {look.algorithm!r}: choose one of {', '.join(known)}"
        )
    return look


def _figure(context: Studio, state: State, comparison: Comparison, look: figures.Look) -> bytes:
    """A `FigureOut`, drawn once for whoever wants the whole or its ends."""

    def make() -> bytes:
        figure = figures.draw(comparison, look)
        plain = catalogue.as_json(figure)
        answer = FigureOut(figure=plain, cursor=tails.cursor(plain), fence=0, empty=figures.is_empty(figure))
        return answer.model_dump_json().encode()

    return context.compared.get((state, look), make)


def _seen(context: Studio, run: list[str] | None, sweep: str | None) -> tuple[State, Comparison]:
    """The comparison and what it is a state of. The table and the figures of one page read it once."""
    with context.database.snapshot() as session:
        state = tuple((one.uid, one.rev) for one in _chosen(session, run, sweep))

    def read() -> Comparison:  # in a session of its own: whoever waits for it holds none
        with context.database.snapshot() as session:
            return load(session, _chosen(session, run, sweep))

    return state, context.comparisons.get(state, read)


def _chosen(session: Session, wanted: list[str] | None, sweep: str | None) -> list[Run]:
    if sweep is not None:
        mine = select(SweepMember.run_id).where(
            SweepMember.sweep_id == sweeps.get(session, sweep).id, SweepMember.parent.is_(None)
        )
        found = list(session.scalars(select(Run).where(Run.id.in_(mine)).order_by(Run.id)))
    elif wanted:
        uids = list(dict.fromkeys(wanted))
        if len(uids) > MOST_RUNS:
            raise Invalid.field("run", f"at most {MOST_RUNS} runs are compared at once, and these are {len(uids)}")
        by_uid = {one.uid: one for one in session.scalars(select(Run).where(Run.uid.in_(uids), Run.algorithm != TRIAL))}
        if missing := [uid for uid in uids if uid not in by_uid]:
            raise NotFound(f"there is no run {missing[0]!r}")
        found = [by_uid[uid] for uid in uids]
    else:
        raise Invalid.field("run", "say which runs to compare: `run=ID` for each of them, or `sweep=ID`")
    trained = [one for one in found if one.algorithm != "reward_model"]
    if not trained:
        raise Invalid.field("run", "reward models have no reward of their own: choose runs that train a policy")
    return trained
