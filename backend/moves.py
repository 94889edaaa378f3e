"""The only statement that changes a run's state: a conditional UPDATE, its history row, one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, insert, update
from sqlalchemy.orm import Session

from backend.database import NOW
from backend.models import Run, RunEvent
from backend.models_machines import Gpu
from backend.states import OWNED, RunState, may_move


@dataclass(frozen=True)
class Moved:
    """A run that made the move, with its fencing number afterwards."""

    id: int
    uid: str
    fence: int


def move(
    session: Session,
    where: list[ColumnElement[bool]],
    origin: RunState,
    target: RunState,
    *,
    reason: str = "",
    actor: str = "",
    devices: int | None = None,
    **values: Any,
) -> list[Moved]:
    """Take every run that matches `where` and is in `origin` to `target`, with `values`; return those that moved.

    Two callers that race for one run both execute the UPDATE: the loser matches no row and gets an empty list.
    A run that leaves its worker frees its GPUs and counts the seconds that it had them, in the same transaction. `devices`: how many a
    run holds from this move on, for its history.
    Raises ValueError for a move that states.ALLOWED does not know: that is a bug, not a race.
    """
    if not may_move(origin, target):
        raise ValueError(f"a run never goes from {origin} to {target}")
    leaves = origin in OWNED and target not in OWNED
    if leaves:
        values = {"used_seconds": Run.used_seconds + (NOW - func.coalesce(Run.claimed_at, NOW)), **values}
    rows = session.execute(
        update(Run)
        .where(*where, Run.state == origin.value)
        .values(state=target.value, rev=Run.rev + 1, changed_at=NOW, **values)
        .returning(Run.id, Run.uid, Run.fence)
        .execution_options(synchronize_session=False)
    ).all()
    moved = [Moved(*row) for row in rows]
    if moved and leaves:
        session.execute(
            update(Gpu)
            .where(Gpu.run_id.in_([one.id for one in moved]))
            .values(run_id=None)
            .execution_options(synchronize_session=False)
        )
    if moved:
        record = {"origin": origin.value, "target": target.value, "reason": reason, "actor": actor, "devices": devices}
        session.execute(
            insert(RunEvent).values(at=NOW), [{"run_id": one.id, "fence": one.fence, **record} for one in moved]
        )
    return moved
