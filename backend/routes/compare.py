"""Runs side by side: groups, differences to a baseline, and the paper's figures of them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend import comparison_table, sweeps
from backend.comparisons import MOST_RUNS, Comparison, Measure, load
from backend.errors import Invalid, NotFound
from backend.figures import catalogue
from backend.figures import compare as figures
from backend.models import Run
from backend.models_sweeps import SweepMember
from backend.routes.context import Context
from backend.routes.figure_answers import RESPONSES, Format, file
from backend.schemas.compare import CompareOut
from backend.schemas.figures import FigureOut

router = APIRouter(prefix="/compare", tags=["compare"])

Runs = Annotated[list[str] | None, Query(description=f"Id of a run; given once for each, at most {MOST_RUNS} times.")]
SweepId = Annotated[str | None, Query(description="Id of a sweep, in the place of its runs.")]
MeasureOf = Annotated[Measure, Query(description="The reward that is maximised, or the gold reward beside it.")]


@router.get("", response_model=CompareOut)
def compare_runs(
    context: Context,
    run: Runs = None,
    sweep: SweepId = None,
    measure: MeasureOf = "reward",
    baseline: Annotated[
        str | None, Query(description="Id of a group, or `reference`: the policy before training. None: the reference.")
    ] = None,
) -> CompareOut:
    """Groups of runs that differ only by seed, with paired differences to a baseline over the same prompts."""
    with context.database.snapshot() as session:
        comparison = load(session, _chosen(session, run, sweep), samples=True)
    return comparison_table.table(comparison, measure, baseline)


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
    target: Annotated[
        float | None, Query(allow_inf_nan=False, description="Of the figure of times: the reward to reach.")
    ] = None,
    format: Format = "json",  # noqa: A002
) -> FigureOut | Response:
    """One figure of a comparison."""
    comparison = _load(context, run, sweep)
    drawn = figures.time_to(comparison, measure, target) if name == "time" else figures.DRAW[name](comparison, measure)
    if format != "json":
        return file(format, f"compare-{name}", drawn, lambda: figures.as_csv(drawn))
    return FigureOut(figure=catalogue.as_json(drawn), cursor="", fence=0, empty=figures.is_empty(drawn))


def _load(context: Context, run: list[str] | None, sweep: str | None) -> Comparison:
    with context.database.snapshot() as session:
        return load(session, _chosen(session, run, sweep))


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
        by_uid = {one.uid: one for one in session.scalars(select(Run).where(Run.uid.in_(uids)))}
        if missing := [uid for uid in uids if uid not in by_uid]:
            raise NotFound(f"there is no run {missing[0]!r}")
        found = [by_uid[uid] for uid in uids]
    else:
        raise Invalid.field("run", "say which runs to compare: `run=ID` for each of them, or `sweep=ID`")
    trained = [one for one in found if one.algorithm != "reward_model"]
    if not trained:
        raise Invalid.field("run", "reward models have no reward of their own: choose runs that train a policy")
    return trained
