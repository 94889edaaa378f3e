"""What a worker writes about a run. Every write carries the attempt's fencing number; a zombie's is refused.

The number goes up by one with every claim. A worker that was frozen, or cut off from the database, past its lease finds
its number outdated and gets LeaseLost: it can never add a point to, move the checkpoint of, or end the run of its successor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy import delete as sql_delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend import allocation, artifacts, lineage, queue_control, recorded
from backend.allocation import Room
from backend.backoff import Backoff
from backend.database import NOW
from backend.models import Evaluation, MetricPoint, Run, RunEvent, RunParent, Sample
from backend.moves import Moved, move
from backend.recorded import Record
from backend.run_errors import LeaseLost
from backend.states import OWNED, RunState
from copg_core import events
from copg_core.trial_config import JOB_CONFIG, Job
from copg_core.trial_config import parents as parents_of_config

DEFAULT_BACKOFF = Backoff()
_OWNED = [state.value for state in OWNED]


@dataclass(frozen=True)
class Claim:
    """What a worker needs to train a run that it has just won."""

    run_id: int
    uid: str
    fence: int
    attempt: int
    max_attempts: int
    config: Job
    checkpoint_step: int | None
    checkpoint_path: str | None
    previous_fence: int | None
    """The attempt right before this one, where it went back to the queue: its spool may hold what was never shipped."""
    previous_settled: bool = False
    """Whether its own worker put the run back. Then a failure in that spool was weighed already, and is no end."""
    parents: dict[str, str] = field(default_factory=dict)
    """Where each parent's output stands (store.py: a location), by the parent's uid."""
    output: str | None = None
    """Where this run's own output stands, where it was trained to its end but never got to succeed."""
    total_steps: int | None = None
    kept: Mapping[str, artifacts.Kept] = field(default_factory=dict)
    """Files and hashes of those locations, as far as they are registered."""
    gpus: tuple[str, ...] = ()
    """UUIDs of the GPUs that are booked for this attempt; none: it trains on the processor."""
    max_seconds: float | None = None
    seconds_left: float | None = None
    """Of the run's maximum time `max_seconds`, what earlier attempts have left; None without a limit."""


def claim(session: Session, uid: str, owner: str, lease_seconds: float) -> Claim | None:
    """Try to become the owner of a queued run: of several workers exactly one wins, the others get None.

    None also while the queue is paused and where the worker has no room for what the run asks; then it is offered to
    another one. GPUs are booked in the same transaction.
    Drops every point, evaluation and sample after the checkpoint in the same transaction, so that what viewers see is
    what training goes on from.
    """
    queued = [Run.uid == uid, Run.state == RunState.QUEUED.value, Run.not_before <= NOW]
    wish = session.execute(select(Run.id, Run.gpus, Run.config_schema).where(*queued)).one_or_none()
    if wish is None or queue_control.read(session).paused:
        return None
    room = allocation.find(session, owner, wish.gpus, wish.config_schema)
    if room is None or not (won := _win(session, wish.id, wish.gpus, room, owner, lease_seconds)):
        declined = update(Run).where(*queued, Run.offered_to == owner).values(published_at=None, offered_to=None)
        session.execute(declined.execution_options(synchronize_session=False))
        return None
    run = session.scalars(select(Run).where(Run.id == won.id).execution_options(populate_existing=True)).one()
    try:
        config = JOB_CONFIG.validate_python(run.config)
    except ValidationError as error:
        finish(session, run.id, run.fence, RunState.FAILED, "its configuration cannot be read",
               f"This version of the worker cannot read the run's configuration: {error.errors()[0]['msg']}. "
               "Update the worker, then resume the run.", "config")  # fmt: skip
        return None
    if run.output_path is None:  # else nothing will be trained, and the curve is whole
        _truncate(session, run)
    previous = _previous(session, run.id)
    parents = session.execute(
        select(Run.uid, Run.output_path)
        .join(RunParent, RunParent.parent_id == Run.id)
        .where(RunParent.run_id == run.id, Run.output_path.is_not(None))
    ).all()
    named = set(parents_of_config(config).values())  # a run that is only waited for leaves nothing that is needed here
    outputs = {parent.uid: parent.output_path for parent in parents if parent.uid in named}
    return Claim(
        run_id=run.id,
        uid=run.uid,
        fence=run.fence,
        attempt=run.attempt,
        max_attempts=run.max_attempts,
        config=config,
        checkpoint_step=run.checkpoint_step,
        checkpoint_path=run.checkpoint_path,
        previous_fence=previous[0],
        previous_settled=previous[1],
        parents=outputs,
        output=run.output_path,
        total_steps=run.total_steps,
        kept=artifacts.registered(session, [run.checkpoint_path, run.output_path, *outputs.values()]),
        gpus=room.uuids,
        max_seconds=run.max_seconds,
        seconds_left=None if run.max_seconds is None else run.max_seconds - run.used_seconds,
    )


def _win(session: Session, run_id: int, gpus: int | None, room: Room, owner: str, lease_seconds: float) -> Moved | None:
    """The conditional UPDATE and the booking, together or not at all."""
    try:
        with session.begin_nested():
            won = move(
                session, [Run.id == run_id, Run.not_before <= NOW, Run.gpus.is_not_distinct_from(gpus)],
                RunState.QUEUED, RunState.RUNNING, reason=f"claimed, {room}" if room.gpus else "claimed", actor=owner,
                devices=room.devices, owner=owner, fence=Run.fence + 1, attempt=Run.attempt + 1, lease_until=NOW + lease_seconds,
                started_at=func.coalesce(Run.started_at, NOW), claimed_at=NOW, error=None, error_kind=None,
                stage=None, stage_done=0, stage_total=0, training_started_at=None, training_started_step=None,
                step=func.coalesce(Run.checkpoint_step, 0), head_since=None, reserved_node=None, offered_to=None,
            )  # fmt: skip
            if won:
                allocation.take(session, won[0].id, room)
    except IntegrityError:  # another worker that sees the same GPU was a moment earlier
        return None
    return won[0] if won else None


def _truncate(session: Session, run: Run) -> None:
    last = -1 if run.checkpoint_step is None else run.checkpoint_step
    for table in (MetricPoint, Evaluation, Sample):
        session.execute(
            sql_delete(table)
            .where(table.run_id == run.id, table.step > last)
            .execution_options(synchronize_session=False)
        )
    newest = select(Evaluation.reward_mean).where(Evaluation.run_id == run.id).order_by(Evaluation.step.desc())
    reward = session.execute(newest.limit(1)).scalar()
    session.execute(
        update(Run).where(Run.id == run.id).values(last_reward=reward).execution_options(synchronize_session=False)
    )


def _previous(session: Session, run_id: int) -> tuple[int | None, bool]:
    """Fence of the attempt before this claim, where it went back to the queue and not through a person's hands, and whether
    its own worker put it there."""
    history = session.execute(
        select(RunEvent.origin, RunEvent.target, RunEvent.fence, RunEvent.actor)
        .where(RunEvent.run_id == run_id)
        .order_by(RunEvent.id.desc())
        .limit(8)
    ).all()
    if len(history) < 2 or history[1].origin not in _OWNED:
        return None, False
    fence = next((row.fence for row in history[1:] if row.target == RunState.RUNNING), None)
    return fence, history[1].actor == "worker"


def renew(session: Session, run_id: int, fence: int, lease_seconds: float, batch: Sequence[Record]) -> bool:
    """Prolong the lease and write a batch of events and artifacts, all or nothing. True where the run is to be cancelled.

    Shipping a batch twice leaves the same rows. Raises LeaseLost where the attempt no longer owns the run.
    """
    values: dict[str, Any] = {"lease_until": NOW + lease_seconds, **recorded.columns(batch)}
    if batch:
        values |= {"rev": Run.rev + 1, "changed_at": NOW}
    row = session.execute(
        update(Run)
        .where(*_mine(run_id, fence), Run.state.in_(_OWNED))
        .values(**values)
        .returning(Run.state, Run.report)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if row is None:  # the row's lock is held until the commit, so the reaper cannot slip in between
        raise LeaseLost(run_id, fence)
    recorded.write_rows(session, run_id, fence, batch)
    artifacts.record(session, run_id, fence, batch)
    if sections := [event for event in batch if isinstance(event, events.Report)]:
        report = dict(row.report or {})
        for event in sections:
            report[event.section] = {**report.get(event.section, {}), **event.values}
        session.execute(
            update(Run).where(Run.id == run_id).values(report=report).execution_options(synchronize_session=False)
        )
    return bool(row.state == RunState.CANCELLING)


def _mine(run_id: int, fence: int) -> list[ColumnElement[bool]]:
    return [Run.id == run_id, Run.fence == fence]


def finish(
    session: Session,
    run_id: int,
    fence: int,
    target: RunState,
    reason: str,
    error: str | None = None,
    error_kind: str | None = None,
    *,
    count_attempt: bool = True,
    delay_seconds: float = 0.0,
) -> RunState:
    """End an attempt: SUCCEEDED, FAILED, CANCELLED, or QUEUED to be taken up again. Returns the state that it reached.

    A run that somebody is cancelling does not go back to the queue but to CANCELLED. `count_attempt=False`: the worker
    was asked to leave, which is not the run's fault. Children are released or cancelled in the same transaction.
    Raises LeaseLost.
    """
    values: dict[str, Any] = {
        "owner": None, "lease_until": None, "stage": None, "stage_done": 0, "stage_total": 0,
        "error": error, "error_kind": error_kind,
    }  # fmt: skip
    for origin in (RunState.RUNNING, RunState.CANCELLING):
        end = RunState.CANCELLED if origin == RunState.CANCELLING and target == RunState.QUEUED else target
        changes = dict(values)
        if end == RunState.QUEUED:
            changes |= {"published_at": None, "offered_to": None, "not_before": NOW + delay_seconds}
            if not count_attempt:
                changes["attempt"] = Run.attempt - 1
        else:
            changes["finished_at"] = NOW
        if move(session, _mine(run_id, fence), origin, end, reason=reason, actor="worker", **changes):
            if end != RunState.QUEUED:
                lineage.settle_children(session, [run_id])
            return end
    raise LeaseLost(run_id, fence)


def is_cancelling(session: Session, run_id: int, fence: int) -> bool:
    """Whether somebody asked to stop this attempt. Reads only. Raises LeaseLost."""
    state = session.scalar(select(Run.state).where(*_mine(run_id, fence), Run.state.in_(_OWNED)))
    if state is None:
        raise LeaseLost(run_id, fence)
    return bool(state == RunState.CANCELLING)


def reap(session: Session, backoff: Backoff = DEFAULT_BACKOFF) -> int:
    """Take every run away whose lease ran out: to the queue, to CANCELLED where that was asked, or to FAILED.

    The caller makes sure that owners had one full lease to come back after its own start and after a stalled database.
    """
    return _take_away(session, [Run.lease_until < NOW], "its worker has not been heard of", backoff)


def give_back(session: Session, owner_prefix: str, backoff: Backoff = DEFAULT_BACKOFF) -> int:
    """The same at once for the runs of a worker that is known to be dead, by whoever watched it die."""
    mine = [Run.owner.startswith(owner_prefix, autoescape=True)]
    return _take_away(session, mine, "its worker died", backoff)


def _take_away(session: Session, where: list[ColumnElement[bool]], reason: str, backoff: Backoff) -> int:
    # SKIP LOCKED: a row that somebody frozen holds must not stop the others. SQLite has one writer and ignores it.
    owned = select(Run.id, Run.attempt, Run.max_attempts).where(*where, Run.state.in_(_OWNED))
    rows = session.execute(owned.with_for_update(skip_locked=True)).all()
    if not rows:
        return 0
    dead = [Run.id.in_([row.id for row in rows]), *where]
    gone: dict[str, Any] = {"owner": None, "lease_until": None, "stage": None, "stage_done": 0, "stage_total": 0}
    ended = {**gone, "finished_at": NOW}
    lost: list[Moved] = move(
        session, dead, RunState.CANCELLING, RunState.CANCELLED, reason=reason, actor="queue", **ended
    )
    lost += move(
        session, [*dead, Run.attempt >= Run.max_attempts], RunState.RUNNING, RunState.FAILED, reason=reason, actor="queue",
        error="The run lost its worker in every one of its attempts. Look at its log, then resume it.",
        error_kind="worker", **ended,
    )  # fmt: skip
    back: list[Moved] = []
    for attempt, most in sorted({(row.attempt, row.max_attempts) for row in rows}):  # each waits for its own time
        these = [*dead, Run.attempt == attempt, Run.max_attempts == most]
        back += move(
            session, these, RunState.RUNNING, RunState.QUEUED, reason=f"{reason}; {backoff.sentence(attempt, most)}",
            actor="queue", published_at=None, offered_to=None, not_before=NOW + backoff.delay(attempt), **gone,
        )  # fmt: skip
    lineage.settle_children(session, [one.id for one in lost])
    return len(lost) + len(back)
