"""What a worker writes about a run. Every write carries the attempt's fencing number; a zombie's is refused.

The number goes up by one with every claim. A worker that was frozen, or cut off from the database, past its lease finds
its number outdated and gets LeaseLost: it can never add a point to, move the checkpoint of, or end the run of its successor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy import delete as sql_delete
from sqlalchemy.orm import Session

from backend import lineage, metrics
from backend.database import NOW
from backend.models import Checkpoint, Evaluation, MetricPoint, Run, RunEvent, RunParent, Sample
from backend.moves import Moved, move
from backend.run_errors import LeaseLost
from backend.states import OWNED, RunState
from copg_core import events
from copg_core.config import RUN_CONFIG, RunConfig
from copg_core.events import Event

_OWNED = [state.value for state in OWNED]


@dataclass(frozen=True)
class Claim:
    """What a worker needs to train a run that it has just won."""

    run_id: int
    uid: str
    fence: int
    attempt: int
    max_attempts: int
    config: RunConfig
    checkpoint_step: int | None
    checkpoint_path: str | None
    previous_fence: int | None
    """The attempt that lost its worker right before this one: its spool may hold what was never shipped."""
    parents: dict[str, str] = field(default_factory=dict)
    """Output folder of each parent, by the parent's uid."""


def claim(session: Session, uid: str, owner: str, lease_seconds: float) -> Claim | None:
    """Try to become the owner of a queued run: of several workers exactly one wins, the others get None.

    Drops every point, evaluation and sample after the checkpoint in the same transaction, so that what viewers see is
    what training goes on from.
    """
    won = move(
        session, [Run.uid == uid, Run.not_before <= NOW], RunState.QUEUED, RunState.RUNNING,
        reason="claimed", actor=owner, owner=owner, fence=Run.fence + 1, attempt=Run.attempt + 1,
        lease_until=NOW + lease_seconds, started_at=func.coalesce(Run.started_at, NOW), error=None, error_kind=None,
        stage=None, stage_done=0, stage_total=0, training_started_at=None, training_started_step=None,
        step=func.coalesce(Run.checkpoint_step, 0),
    )  # fmt: skip
    if not won:
        return None
    run = session.scalars(select(Run).where(Run.id == won[0].id).execution_options(populate_existing=True)).one()
    _truncate(session, run)
    parents = session.execute(
        select(Run.uid, Run.output_path)
        .join(RunParent, RunParent.parent_id == Run.id)
        .where(RunParent.run_id == run.id, Run.output_path.is_not(None))
    ).all()
    return Claim(
        run_id=run.id,
        uid=run.uid,
        fence=run.fence,
        attempt=run.attempt,
        max_attempts=run.max_attempts,
        config=RUN_CONFIG.validate_python(run.config),
        checkpoint_step=run.checkpoint_step,
        checkpoint_path=run.checkpoint_path,
        previous_fence=_previous_fence(session, run.id),
        parents={parent.uid: parent.output_path for parent in parents},
    )


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


def _previous_fence(session: Session, run_id: int) -> int | None:
    """Fence of the attempt before this claim, where it went back to the queue and not through a person's hands."""
    history = session.execute(
        select(RunEvent.origin, RunEvent.target, RunEvent.fence)
        .where(RunEvent.run_id == run_id)
        .order_by(RunEvent.id.desc())
        .limit(8)
    ).all()
    if len(history) < 2 or history[1].origin not in _OWNED:
        return None
    return next((row.fence for row in history[1:] if row.target == RunState.RUNNING), None)


def renew(session: Session, run_id: int, fence: int, lease_seconds: float, batch: Sequence[Event]) -> bool:
    """Prolong the lease and write a batch of events, all or nothing. True where the run is to be cancelled.

    Shipping a batch twice leaves the same rows. Raises LeaseLost where the attempt no longer owns the run.
    """
    values: dict[str, Any] = {"lease_until": NOW + lease_seconds, **_columns(batch)}
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
    _write_rows(session, run_id, fence, batch)
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


def _columns(batch: Sequence[Event]) -> dict[str, Any]:
    """The run's own columns as the batch leaves them."""
    values: dict[str, Any] = {}
    for event in batch:
        match event:
            case events.Stage():
                values |= {"stage": event.name, "stage_done": event.done, "stage_total": event.total}
            case events.Started():
                values |= {
                    "step": event.step, "total_steps": event.total_steps,
                    "training_started_at": NOW, "training_started_step": event.step,
                }  # fmt: skip
            case events.Metrics():
                values["step"] = event.step
            case events.Evaluation():
                if event.reward_mean is not None:
                    values["last_reward"] = event.reward_mean
            case events.CheckpointSaved():
                values |= {"checkpoint_step": event.step, "checkpoint_path": event.path}
            case events.Finished():
                values |= {"step": event.step, "output_path": event.output}
            case events.Failed():
                values |= {"error": event.message, "error_kind": event.kind[:20]}
    return values


def _write_rows(session: Session, run_id: int, fence: int, batch: Sequence[Event]) -> None:
    points: dict[int, dict[str, float | None]] = {}
    for event in batch:
        match event:
            case events.Metrics():
                points.setdefault(event.step, {}).update(event.values)
            case events.Evaluation():
                _write_evaluation(session, run_id, event)
            case events.CheckpointSaved():
                row = {"run_id": run_id, "step": event.step, "fence": fence, "path": event.path, "bytes": event.bytes}
                metrics.upsert(session, Checkpoint.__table__, [row | {"created_at": session.scalar(select(NOW))}],
                               ("run_id", "step", "fence"))  # fmt: skip
            case events.CheckpointRemoved():
                session.execute(
                    sql_delete(Checkpoint).where(Checkpoint.run_id == run_id, Checkpoint.path == event.path)
                )
                _forget_path(session, run_id, event.path)
    metrics.append(session, run_id, points)


def _forget_path(session: Session, run_id: int, path: str) -> None:
    """A run whose newest checkpoint goes (it was written after the run began to diverge) points to the one before."""
    newest = (
        select(Checkpoint.step, Checkpoint.path)
        .where(Checkpoint.run_id == run_id)
        .order_by(Checkpoint.step.desc(), Checkpoint.fence.desc())
        .limit(1)
    )
    step, left = session.execute(newest).one_or_none() or (None, None)
    session.execute(
        update(Run)
        .where(Run.id == run_id, Run.checkpoint_path == path)
        .values(checkpoint_step=step, checkpoint_path=left)
        .execution_options(synchronize_session=False)
    )


def _write_evaluation(session: Session, run_id: int, event: events.Evaluation) -> None:
    row = event.model_dump(exclude={"event", "samples", "values"})
    extra = {"extra": event.values, "run_id": run_id, "recorded_at": session.scalar(select(NOW))}
    metrics.upsert(session, Evaluation.__table__, [row | extra], ("run_id", "step"))
    samples = [sample.model_dump(exclude={"event"}) for sample in event.samples]
    metrics.upsert(session, Sample.__table__, [{"run_id": run_id, "step": event.step, **sample} for sample in samples],
                   ("run_id", "step", "prompt_index"))  # fmt: skip


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
            changes |= {"published_at": None, "not_before": NOW + delay_seconds}
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


def reap(session: Session) -> int:
    """Take every run away whose lease ran out: to the queue, to CANCELLED where that was asked, or to FAILED.

    The caller makes sure that owners had one full lease to come back after its own start and after a stalled database.
    """
    return _take_away(session, [Run.lease_until < NOW], "its worker has not been heard of")


def give_back(session: Session, owner_prefix: str) -> int:
    """The same at once for the runs of a worker that is known to be dead, by whoever watched it die."""
    return _take_away(session, [Run.owner.startswith(owner_prefix, autoescape=True)], "its worker died")


def _take_away(session: Session, where: list[ColumnElement[bool]], reason: str) -> int:
    # SKIP LOCKED: a row that somebody frozen holds must not stop the others. SQLite has one writer and ignores it.
    ids = session.scalars(select(Run.id).where(*where, Run.state.in_(_OWNED)).with_for_update(skip_locked=True)).all()
    if not ids:
        return 0
    dead = [Run.id.in_(ids), *where]
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
    back = move(
        session, dead, RunState.RUNNING, RunState.QUEUED, reason=reason, actor="queue", published_at=None,
        not_before=NOW + func.coalesce(Run.attempt, 1), **gone,
    )  # fmt: skip
    lineage.settle_children(session, [one.id for one in lost])
    return len(lost) + len(back)


def due(where_published_before: float) -> list[ColumnElement[bool]]:
    """Conditions of a queued run for which a wake-up message should be sent (again)."""
    return [
        Run.state == RunState.QUEUED.value,
        Run.not_before <= NOW,
        or_(Run.published_at.is_(None), Run.published_at <= NOW - where_published_before),
    ]
