"""Runs side by side: groups, differences to a baseline, and the paper's figures of them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend import comparison_scores, comparison_table, sweeps
from backend.comparisons import MOST_RUNS, NAMES, SCORERS, Comparison, Measure, load
from backend.errors import Invalid, NotFound
from backend.figures import catalogue, compare_captions, tails
from backend.figures import compare as figures
from backend.models import TRIAL, Run
from backend.models_sweeps import SweepMember
from backend.origins import Origins
from backend.report import document
from backend.report.figures import Shown
from backend.routes.context import Context, Studio
from backend.routes.figure_answers import RESPONSES, Format, file
from backend.routes.system import VERSION
from backend.schemas.compare import CompareOut, LeftOut
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
BaselineOf = Annotated[
    str | None,
    Query(
        description="Id of a group, or `reference`: the policy before training. None, or one that is not there: the first of `baselines`."
    ),
]


@router.get("", response_model=CompareOut)
def compare_runs(
    context: Context,
    run: Runs = None,
    sweep: SweepId = None,
    measure: MeasureOf = "reward",
    baseline: BaselineOf = None,
) -> Response:
    """Groups of runs that differ only by seed, with paired differences to a baseline over the same prompts."""
    state, comparison = _seen(context, run, sweep)
    return Response(_table(context, state, comparison, measure, baseline), media_type="application/json")


@router.get("/left-out", response_model=LeftOut)
def get_left_out(context: Context, run: Runs = None, sweep: SweepId = None) -> LeftOut:
    """Which of the chosen runs are not compared, without reading what they measured: for whoever downloads a file of the others."""
    with context.database.snapshot() as session:
        names = [one.name for one in _chosen(session, run, sweep) if one.algorithm == SCORERS]
    return LeftOut(left_out=comparison_table.left_out(names))


@router.get(
    "/report", response_class=Response, responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}}}
)
def get_compare_report(
    context: Context,
    request: Request,
    run: Runs = None,
    sweep: SweepId = None,
    measure: MeasureOf = "reward",
    baseline: BaselineOf = None,
    target: Target = None,
    smoothing: Smoothing = 0,
    band: BandOf = "stderr",
    algorithm: Algorithm = None,
) -> Response:
    """The comparison as one HTML file that opens without the studio: table, figures, settings and configurations. With `algorithm` its
    figures are of that one alone, while the table has all groups."""
    state, comparison = _seen(context, run, sweep)
    look = _look(comparison, figures.Look("reward", measure, target, smoothing, band, algorithm))
    seen = CompareOut.model_validate_json(_table(context, state, comparison, measure, baseline))
    with context.database.snapshot() as session:
        mine = select(Run.uid, Run.notes, Run.config).where(Run.uid.in_([uid for uid, _ in state]))
        rows = session.execute(mine).all()
        name = sweeps.get(session, sweep).name if sweep is not None else document.title_of(seen)
    made_at = datetime.now(UTC)
    peer = request.client.host if request.client else None
    https = Origins(context.settings).secure(request.url.scheme, peer, dict(request.headers))
    address = str(request.base_url.replace(scheme="https" if https else "http"))
    asked = {
        "sweep": sweep,
        "run": None if sweep else [uid for uid, _ in state],
        "baseline": baseline,
        "target": target,
    }
    asked |= {"measure": measure, "smoothing": smoothing or None, "band": band}
    made = document.Report(
        name=name, made_at=made_at, version=VERSION, address=address, seen=seen, shown=_shown(context, state, comparison, look),
        query=urlencode({key: value for key, value in asked.items() if value is not None}, doseq=True),
        notes={row.uid: row.notes for row in rows}, configs={row.uid: row.config for row in rows},
    )  # fmt: skip
    attachment = {"Content-Disposition": f'attachment; filename="comparison-{made_at:%Y-%m-%d}.html"'}
    return Response(document.render(made), media_type="text/html", headers=attachment)


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


def _table(context: Studio, state: State, comparison: Comparison, measure: Measure, baseline: str | None) -> bytes:
    """A `CompareOut`, made once for whoever sees these runs in this state."""

    def make() -> bytes:
        with context.database.snapshot() as session:
            seen = comparison_table.table(
                comparison, measure, baseline, lambda wanted: comparison_scores.read(session, wanted)
            )
        return seen.model_dump_json().encode()

    return context.compared.get((state, measure, baseline and baseline[:40]), make)


def _shown(context: Studio, state: State, comparison: Comparison, look: figures.Look) -> list[Shown]:
    """The figures that have something to show, as the page has them; the page's own are used where they are remembered."""
    of_one = look.algorithm
    kept = [group for group in comparison.groups if of_one is None or group.algorithm == of_one]
    found = []
    for panel in figures.panels_of(replace(comparison, groups=kept)):
        wanted = figures.asked(look._replace(name=panel.name, algorithm=of_one or panel.algorithm))
        answer = json.loads(_figure(context, state, comparison, wanted))
        if not answer["empty"]:
            plain = answer["figure"]
            told = compare_captions.caption(
                wanted, [trace["meta"]["role"] for trace in plain["data"]], greedy=comparison.sampling == "greedy"
            )
            wide = panel.name in {"reward", "best"} and panel.algorithm is None
            of_whom = f", {NAMES.get(of_one, of_one)}" if of_one is not None else ""
            found.append(Shown(panel.title + of_whom, told, plain, wide))
    return found


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
    if all(one.algorithm == SCORERS for one in found):
        raise Invalid.field("run", "reward models have no reward of their own: choose runs that train a policy")
    return found
