"""What people ask of runs: create, cancel, resume, retry, delete. Workers' writes are in claims.py.

Functions take a session inside `Database.transaction()` and return a fresh row. Wake-up messages are sent by the caller
after the commit (`Reconciler.wake`), never from in here. What happens to a run's children is in lineage.py, what is the same
for one run and for many in many_runs.py.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import delete as sql_delete
from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from backend import artifacts, data_sets, lineage, many_runs, run_fields, who
from backend.database import NOW
from backend.models import TRIAL, Checkpoint, Evaluation, MetricPoint, Pipeline, Run, RunEvent, RunParent, Sample
from backend.moves import move
from backend.run_errors import RewardRefused, RunNotFound, StateConflict
from backend.settings import Settings
from backend.states import RESUMABLE, TERMINAL, RunState
from copg_core.config import CONFIG_SCHEMA, RunConfig, variant_of
from copg_core.errors import ConfigError
from copg_core.reward_sources import FunctionReward, parts
from copg_core.rewards.registry import check_own

FROM_SCRATCH = "tried again from the beginning"


@dataclass(frozen=True)
class Schedule:
    """What a run asks of the queue. `gpus` None: one where the worker has any; `max_seconds` None: no limit."""

    gpus: int | None = None
    max_attempts: int = 3
    max_seconds: float | None = None
    after: tuple[str, ...] = ()
    after_any: tuple[str, ...] = ()


def folder(settings: Settings, uid: str) -> Path:
    """Where everything that a run writes stands: `<data>/runs/<uid>`."""
    return settings.runs_path / uid


def get(session: Session, uid: str) -> Run:
    """The run with this public id, as the database has it now. Raises RunNotFound."""
    query = select(Run).where(Run.uid == uid, Run.algorithm != TRIAL).execution_options(populate_existing=True)
    run = session.scalars(query).one_or_none()
    if run is None:
        raise RunNotFound(uid)
    return run


def fresh(session: Session, run: Run) -> Run:
    """The same row, a trial's too, as the database has it now."""
    query = select(Run).where(Run.id == run.id).execution_options(populate_existing=True)
    found = session.scalars(query).one_or_none()
    if found is None:
        raise RunNotFound(run.uid)
    return found


def create(
    session: Session,
    config: RunConfig,
    *,
    name: str | None = None,
    notes: str = "",
    priority: int = 0,
    pipeline: Pipeline | None = None,
    queue: str = "default",
    schedule: Schedule = Schedule(),
    tags: Sequence[str] = (),
    findable: bool = True,
) -> Run:
    """A new run: WAITING while a parent has not succeeded, QUEUED otherwise. Who makes many may call `run_fields.write` for all of
    them at last, and says `findable=False` before.

    Raises ParentError (a parent is unknown, of the wrong kind, failed, cancelled or being deleted), AwaitedError (the same of a run that it
    only waits for), DataMissing (an uploaded data set is unknown, deleted or unreadable) and RewardRefused (a reward function does not
    take its options).
    """
    check_reward(config)
    parents = lineage.find_parents(session, config)
    parents |= lineage.find_awaited(session, schedule.after, schedule.after_any)
    config, links = data_sets.pinned(session, config)
    ready = all(lineage.satisfied(role, parent.state) for role, parent in parents.items())
    beta = getattr(config, "beta", None)
    stored = config.model_dump(mode="json")
    named = " ".join(filter(None, (config.algorithm, variant_of(stored))))
    run = Run(
        uid=uuid.uuid4().hex,
        name=name or (named if beta is None else f"{named} β={beta:g}"),
        notes=notes,
        algorithm=config.algorithm,
        beta=beta,
        config=stored,
        pipeline_id=pipeline.id if pipeline is not None else None,
        queue=queue,
        priority=priority,
        gpus=schedule.gpus,
        max_attempts=schedule.max_attempts,
        max_seconds=schedule.max_seconds,
        config_schema=CONFIG_SCHEMA,
        state=(RunState.QUEUED if ready else RunState.WAITING).value,
        tags=list(tags),
        created_at=NOW,
        changed_at=NOW,
    )
    session.add(run)
    session.flush()
    session.add_all(RunParent(run_id=run.id, role=role, parent_id=parent.id) for role, parent in parents.items())
    if parents:
        session.flush()
        lineage.check_staying(session, parents)
    data_sets.link(session, run.id, links)
    session.execute(insert(RunEvent).values(run_id=run.id, fence=0, target=run.state, actor=who.actor(), at=NOW))
    if findable:
        run_fields.write(session, [run])
    return get(session, run.uid)


def check_reward(config: RunConfig) -> None:
    """Raise RewardRefused where a reward function of ours does not take its options."""
    for role, part in parts(getattr(config, "reward", None)):
        if isinstance(part, FunctionReward):
            try:
                check_own(part)
            except ConfigError as error:
                raise RewardRefused(role, str(error)) from error


def find(session: Session, uid: str) -> Run | None:
    """The run with this public id, or None."""
    return session.scalars(select(Run).where(Run.uid == uid, Run.algorithm != TRIAL)).one_or_none()


def cancel(session: Session, run: Run, reason: str = "cancelled by the user", actor: str | None = None) -> Run:
    """Stop a run. One that no worker has ends at once; one that trains goes to CANCELLING and its worker stops it.

    Asking again while it stops changes nothing. Runs that wait for it are cancelled with it.
    Raises StateConflict where the run has ended already.
    """
    actor = actor or who.actor()
    mine = [Run.id == run.id]
    for origin in (RunState.WAITING, RunState.QUEUED):
        if move(session, mine, origin, RunState.CANCELLED, reason=reason, actor=actor, finished_at=NOW):
            lineage.settle_children(session, [run.id])
            return fresh(session, run)
    # In this order: a run that was claimed since the lines above is RUNNING by now, never QUEUED again so soon.
    move(session, mine, RunState.RUNNING, RunState.CANCELLING, reason=reason, actor=actor)
    run = fresh(session, run)
    if run.state == RunState.CANCELLING:
        return run
    if RunState(run.state) in TERMINAL:
        raise StateConflict(f"run {run.name!r} has already {_ended(run)}, so there is nothing to cancel")
    return cancel(session, run, reason, actor)


def resume(session: Session, run: Run) -> Run:
    """Let a failed or cancelled run go on from its last checkpoint, or from the beginning where it has none.

    Runs that were cancelled because this one did not succeed wait for it again. Raises StateConflict, also for a run
    that diverged: every step is a function of its configuration and its checkpoint, so it would diverge again.
    """
    run = get(session, run.uid)
    if (why := many_runs.diverged(run)) is not None:
        raise StateConflict(why)
    return _again(session, run, "resumed", {})


def retry(session: Session, run: Run) -> Run:
    """Run a failed or cancelled run again from the beginning: its points, evaluations and checkpoints are dropped.

    Raises StateConflict.
    """
    cleared = {
        "fence": Run.fence + 1,  # viewers see that the curve starts anew
        "step": 0,
        "last_reward": None,
        "checkpoint_step": None,
        "checkpoint_path": None,
        "output_path": None,
        "report": {},
        "started_at": None,
    }
    run = _again(session, run, FROM_SCRATCH, cleared)
    artifacts.forget_all(session, run.id)
    for table in (MetricPoint, Evaluation, Sample, Checkpoint):
        session.execute(sql_delete(table).where(table.run_id == run.id).execution_options(synchronize_session=False))
    return run


def _again(session: Session, run: Run, reason: str, values: dict[str, Any]) -> Run:
    found = many_runs.locked(session, [run.id])
    run = get(session, run.uid)
    if RunState(run.state) not in RESUMABLE:
        raise StateConflict(f"run {run.name!r} is {run.state}: only a failed or cancelled run can be taken up again")
    moved, refused = many_runs.take_up(session, found, reason, values)
    if refused:
        raise StateConflict(refused[run.id])
    if not moved:
        raise StateConflict(f"run {run.name!r} changed at the same moment: look at it again")
    return get(session, run.uid)


def delete(session: Session, run: Run) -> None:
    """Forget a run that no worker has, with everything recorded about it. Its folder is the caller's to remove.

    Raises StateConflict while a worker has it, or where other runs build on it.
    """
    many_runs.delete(session, [run])
    session.expunge(run) if run in session else None


def reschedule(session: Session, run: Run, **changes: Any) -> Run:
    """Change what a run asks of the queue: `priority`, `gpus`, `max_attempts`, `max_seconds`.

    Raises StateConflict for a run that no longer waits for its turn, except where nothing would change.
    """
    where = [Run.id == run.id, Run.state.in_([RunState.WAITING.value, RunState.QUEUED.value])]
    values = {**changes, "rev": Run.rev + 1, "changed_at": NOW}
    changed = update(Run).where(*where).values(**values).returning(Run.id)
    if not session.execute(changed.execution_options(synchronize_session=False)).all():
        run = get(session, run.uid)
        if any(getattr(run, name) != value for name, value in changes.items()):
            raise StateConflict(f"run {run.name!r} is {run.state}: {_listed(changes)} can be set while it waits")
    return get(session, run.uid)


def _listed(changes: dict[str, Any]) -> str:
    return " and ".join(name.replace("_", " ") for name in changes)


def counts(session: Session) -> dict[RunState, int]:
    """How many runs are in each state; states without runs are 0."""
    found = dict(session.execute(select(Run.state, func.count()).group_by(Run.state)).all())
    return {state: found.get(state.value, 0) for state in RunState}


def _ended(run: Run) -> str:
    return {RunState.CANCELLED: "been cancelled"}.get(RunState(run.state), run.state)
