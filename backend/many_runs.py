"""What is done to many runs at once, in a number of statements that does not grow with them.

A sweep of a thousand runs that was steered run by run held SQLite's write lock for seconds: everybody else's claims, heartbeats and
points waited. The rules are those of a single run, which runs.py takes from here.

Functions take a session inside `Database.transaction()` and the rows that `locked` has read in it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Select, exists, select
from sqlalchemy import delete as sql_delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend import artifacts, data_sets, lineage, who
from backend.database import NOW
from backend.models import Pipeline, Run, RunParent
from backend.moves import move
from backend.run_errors import RunNotFound, StateConflict
from backend.states import OWNED, RESUMABLE, RunState
from copg_core.errors import DivergenceError

FRESH: dict[str, Any] = {
    "attempt": 0,  # a person's decision gives a run all its attempts back, and its time
    "used_seconds": 0.0,
    "claimed_at": None,
    "offered_to": None,
    "owner": None,
    "lease_until": None,
    "published_at": None,
    "not_before": 0.0,
    "stage": None,
    "stage_done": 0,
    "stage_total": 0,
    "training_started_at": None,
    "training_started_step": None,
    "error": None,
    "error_kind": None,
    "finished_at": None,
}


class Row(Protocol):
    """What is read of a run: the row itself, or these columns of it."""

    @property
    def id(self) -> Any: ...
    @property
    def uid(self) -> Any: ...
    @property
    def name(self) -> Any: ...
    @property
    def state(self) -> Any: ...
    @property
    def error_kind(self) -> Any: ...
    @property
    def pipeline_id(self) -> Any: ...


def locked(session: Session, chosen: Select[int] | Collection[int], *, to_delete: bool = False) -> Sequence[Row]:
    """These runs as they are until the transaction ends: nobody else moves one, or, `to_delete`, names one as a parent."""
    columns = (Run.id, Run.uid, Run.name, Run.state, Run.error_kind, Run.pipeline_id)
    # In the order of their numbers, so that two who lock many never wait for each other.
    query = select(*columns).where(Run.id.in_(chosen)).order_by(Run.id)
    return session.execute(query.with_for_update(key_share=not to_delete)).all()


def cancel(session: Session, found: Iterable[Row], reason: str) -> int:
    """Stop those that have not ended, as runs.cancel stops one. Returns how many were asked to stop.

    All waiting ones go before a parent's end is told to its children, which would cancel them with another reason.
    """
    mine: list[ColumnElement[bool]] = [Run.id.in_([run.id for run in found])]
    actor = who.actor()
    ended = [
        one.id
        for origin in (RunState.WAITING, RunState.QUEUED)
        for one in move(session, mine, origin, RunState.CANCELLED, reason=reason, actor=actor, finished_at=NOW)
    ]
    stopping = move(session, mine, RunState.RUNNING, RunState.CANCELLING, reason=reason, actor=actor)
    lineage.settle_children(session, ended)
    return len(ended) + len(stopping)


def resume(session: Session, found: Sequence[Row], spared: Collection[int], why: str) -> tuple[int, dict[int, str]]:
    """Take those that failed or were cancelled up again, as runs.resume does it with one; parents come before their children.

    Returns how many were taken up, and by number why others were not: for the `spared`, `why`.
    """
    rest = {run.id for run in found}
    links = select(RunParent.run_id, RunParent.parent_id).where(
        RunParent.run_id.in_(rest), RunParent.parent_id.in_(rest)
    )
    above: dict[int, set[int]] = defaultdict(set)
    for child, parent in session.execute(links):
        above[child].add(parent)
    count = 0
    refused: dict[int, str] = {}
    while rest:
        turn = {run for run in rest if not above[run] & rest}
        rest -= turn
        # Children that were waiting for a parent of an earlier turn wait again by now.
        ended = [run for run in locked(session, turn) if RunState(run.state) in RESUMABLE]
        told = {run.id: why if run.id in spared else diverged(run) for run in ended}
        refused |= {run: said for run, said in told.items() if said is not None}
        free = [run for run in ended if run.id not in refused]
        taken, held = take_up(session, free, "resumed", {})
        count, refused = count + taken, refused | held
    return count, refused


def take_up(session: Session, found: Sequence[Row], reason: str, values: dict[str, Any]) -> tuple[int, dict[int, str]]:
    """Queue `locked` runs that have ended again, or let them wait for their parents, with all their attempts and `values`; the runs
    that were cancelled because of them wait again too. Returns how many, and by number why others were not."""
    refused, waiting = _obstacles(session, found)
    groups: dict[tuple[RunState, RunState], list[int]] = defaultdict(list)
    for run in found:
        if run.id not in refused:
            target = RunState.WAITING if run.id in waiting else RunState.QUEUED
            groups[RunState(run.state), target].append(run.id)
    moved = [
        one.id
        for (origin, target), ids in groups.items()
        for one in move(session, [Run.id.in_(ids)], origin, target, reason=reason, actor=who.actor(), **FRESH | values)
    ]
    lineage.revive_children(session, moved)
    return len(moved), refused


def diverged(run: Row) -> str | None:
    """Why a run cannot go on from its checkpoint, where every step is a function of that and of its configuration."""
    if run.state == RunState.FAILED and run.error_kind == DivergenceError.kind:
        return (
            f"run {run.name!r} diverged: from its checkpoint it would go through the same steps and diverge again. "
            "Clone it with other settings, for example a smaller learning rate or a larger beta"
        )
    return None


def _obstacles(session: Session, found: Sequence[Row]) -> tuple[dict[int, str], set[int]]:
    """By number why a run cannot be taken up, and which would have to wait for a parent."""
    names = {run.id: run.name for run in found}
    query = (
        select(RunParent.run_id, RunParent.role, Run.name, Run.state)
        .join(Run, Run.id == RunParent.parent_id)
        .where(RunParent.run_id.in_(names))
        .order_by(RunParent.run_id, RunParent.role)
    )
    refused: dict[int, str] = {}
    waiting: set[int] = set()
    for up in session.execute(query):
        if lineage.is_lost(up.role, up.state) or (up.state == RunState.CANCELLING and lineage.is_parent(up.role)):
            why = f"run {names[up.run_id]!r} needs {up.name!r}, which is {up.state}: take that up first"
            refused.setdefault(up.run_id, why)
        if not lineage.satisfied(up.role, up.state):
            waiting.add(up.run_id)
    for run, sweep in lineage.leaving(session, names).items():
        refused[run] = f"run {names[run]!r} is being deleted with its sweep {sweep!r}: clone it"
    return data_sets.without_files(session, names) | refused, waiting


def check_unneeded(session: Session, found: Sequence[Row]) -> None:
    """Raise StateConflict where a run that is none of them builds on one, or waits for one."""
    ids = [run.id for run in found]
    children = session.execute(
        select(RunParent.parent_id, Run.name, Run.state, RunParent.role)
        .join(Run, RunParent.run_id == Run.id)
        .where(RunParent.parent_id.in_(ids), RunParent.run_id.not_in(ids))
    ).all()
    needing: dict[int, set[str]] = defaultdict(set)
    for one in children:
        if lineage.is_parent(one.role) or one.state == RunState.WAITING:
            needing[one.parent_id].add(one.name)
    for run in found:
        if run.id in needing:
            listed = ", ".join(map(repr, sorted(needing[run.id])))
            raise StateConflict(f"run {run.name!r} cannot be deleted, because {listed} builds on it: delete that first")


def delete(session: Session, found: Sequence[Row]) -> None:
    """Forget runs that no worker has, with everything recorded about them, or none. Their folders are the caller's to remove.

    Raises StateConflict while a worker has one, or where other runs build on one.
    """
    check_unneeded(session, found)
    ids = [run.id for run in found]
    artifacts.forget_runs(session, ids)
    mine, free = Run.id.in_(ids), Run.state.not_in([state.value for state in OWNED])
    try:
        with session.begin_nested():
            session.execute(sql_delete(RunParent).where(RunParent.parent_id.in_(ids)))  # they have stopped waiting
            gone = session.scalars(
                sql_delete(Run).where(mine, free).returning(Run.id).execution_options(synchronize_session=False)
            ).all()
    except IntegrityError as error:
        what = f"run {found[0].name!r}" if len(found) == 1 else "one of the runs"
        raise StateConflict(f"{what} was just named as the parent of another run") from error
    if len(gone) < len(ids):
        left = session.execute(select(Run.name, Run.state).where(mine).order_by(Run.id)).first()
        if left is None:
            raise RunNotFound(found[0].uid)
        raise StateConflict(f"run {left.name!r} is {left.state}: cancel it before deleting it")
    of_pipelines = {run.pipeline_id for run in found} - {None}
    if of_pipelines:
        empty = ~exists(select(Run.id).where(Run.pipeline_id == Pipeline.id))
        session.execute(sql_delete(Pipeline).where(Pipeline.id.in_(of_pipelines), empty))
