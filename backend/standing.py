"""The line as people see it: every run that waits, in its order, with the reason and, where it can be told, a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend import dispatch, lineage, queue_control, runs
from backend.database import NOW
from backend.models import Run, RunParent
from backend.models_machines import Gpu
from backend.placement import Place, Plan, plan
from backend.schemas.queue import QueuedRun, QueueOut, QueueState
from backend.schemas.runs import ParentRef
from backend.settings import Settings
from backend.states import OWNED, RunState
from backend.views import moment, remaining_seconds


def queue_state(switch: queue_control.Switch) -> QueueState:
    """The switch as JSON."""
    return QueueState(paused=switch.paused, paused_since=moment(switch.paused_at), paused_by=switch.paused_by)


def standing(session: Session, settings: Settings, limit: int) -> QueueOut:
    """The first `limit` of the line and of the runs that wait for others. The reasons are those by which it is decided."""
    switch = queue_control.read(session)
    wishes = dispatch.read_line(session, settings, limit)
    places = dispatch.living_places(session, settings)
    counts = runs.counts(session)
    made = plan(wishes, places, paused=switch.paused, reserve_seconds=settings.reserve_seconds)
    rows = {run.id: run for run in session.scalars(select(Run).where(Run.id.in_([wish.id for wish in wishes])))}
    now = session.scalar(select(NOW)) or 0.0
    expected = _expected(session, made, places)
    items = []
    for position, decision in enumerate(made.decisions, start=1):
        wish, run = decision.wish, rows.get(decision.wish.id)
        if run is None:
            continue
        again = run.not_before if wish.delay > 0 else None
        seconds = expected.get(wish.id)
        items.append(
            _item(
                run,
                position,
                decision.reason or f"starts on worker {decision.place}",
                not_before=again,
                expected_at=again if seconds is None else now + seconds,
            )
        )
    waiting = session.scalars(
        select(Run).where(Run.state == RunState.WAITING.value).order_by(*dispatch.LINE).limit(limit)
    )
    items += _waiting(session, waiting.all())
    return QueueOut(
        **queue_state(switch).model_dump(), items=items,
        queued=counts[RunState.QUEUED], waiting=counts[RunState.WAITING],
    )  # fmt: skip


def _waiting(session: Session, found: Sequence[Run]) -> list[QueuedRun]:
    above: dict[int, dict[str, ParentRef]] = defaultdict(dict)
    rows = session.execute(
        select(RunParent.run_id, RunParent.role, Run.uid, Run.name, Run.state)
        .join(Run, Run.id == RunParent.parent_id)
        .where(RunParent.run_id.in_([run.id for run in found]))
        .order_by(RunParent.role)
    )
    for row in rows:
        if not lineage.satisfied(row.role, row.state):
            above[row.run_id][row.uid] = ParentRef(role=row.role, id=row.uid, name=row.name, state=row.state)
    items = []
    for run in found:
        missing = list(above[run.id].values())
        names = " and ".join(f"{one.name!r} ({one.state})" for one in missing)
        items.append(_item(run, None, f"waits for {names}" if names else "is about to be queued", waits_for=missing))
    return items


def _item(
    run: Run,
    position: int | None,
    reason: str,
    *,
    waits_for: Sequence[ParentRef] = (),
    not_before: float | None = None,
    expected_at: float | None = None,
) -> QueuedRun:
    return QueuedRun(
        position=position, id=run.uid, name=run.name, algorithm=run.algorithm,
        state="queued" if position else "waiting", priority=run.priority, queue=run.queue, gpus=run.gpus,
        reason=reason, waits_for=list(waits_for), attempt=run.attempt, not_before=moment(not_before),
        expected_at=moment(expected_at), created_at=moment(run.created_at),
    )  # fmt: skip


def _expected(session: Session, made: Plan, places: Sequence[Place]) -> dict[int, float]:
    """Seconds until there is room for the first of each line, by the remaining time of what trains now.

    Only for the first: when those behind it start depends on how long it takes. Nothing where a worker's run cannot say.
    """
    if not made.heads:
        return {}
    wishes = {decision.wish.id: decision.wish for decision in made.decisions}
    held = dict(session.execute(
        select(Gpu.run_id, func.count()).where(Gpu.run_id.is_not(None)).group_by(Gpu.run_id)).all())  # fmt: skip
    busy = session.scalars(select(Run).where(Run.state.in_([state.value for state in OWNED]))).all()
    found: dict[int, float] = {}
    for head in made.heads.values():
        wish = wishes[head]
        times = [
            seconds
            for place in places
            if place.queue == wish.queue and not place.draining and place.size(wish.gpus)
            and (wish.id not in made.reservations or made.reservations[wish.id] == place.name)
            and (seconds := _room_after(place, wish.gpus, [run for run in busy if run.owner == place.name], held))
            is not None
        ]  # fmt: skip
        if times:
            found[head] = min(times)
    return found


def _room_after(place: Place, wanted: int | None, busy: Sequence[Run], held: dict[int | None, int]) -> float | None:
    count = place.wants_gpus(wanted)
    need = count - (place.free_whole_gpus if count > 1 else place.free_gpus) if count else 1 - place.free_cpu_slots
    ending = sorted(
        (left, held.get(run.id, 0)) for run in busy if (left := remaining_seconds(run)) is not None
    )  # fmt: skip
    for left, gpus in ending:
        need -= gpus if count else not gpus
        if need <= 0:
            return left
    return None
