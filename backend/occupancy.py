"""How long runs have held a device: summed over all attempts from the history of their moves, exact to the moment.

A run occupies its worker from the move to RUNNING until the move to a state that nobody owns; CANCELLING still counts.
"""

from __future__ import annotations

from sqlalchemy import Select, case, func, select
from sqlalchemy.orm import Session

from backend.database import NOW
from backend.models import RunEvent
from backend.states import OWNED

_OWNED = [state.value for state in OWNED]


def seconds_of(session: Session, run_ids: Select[int]) -> dict[int, float]:
    """Seconds that workers have held each of the selected runs; runs that nobody ever held are left out."""
    until = func.lead(RunEvent.at).over(partition_by=RunEvent.run_id, order_by=RunEvent.id)
    stretches = (
        select(RunEvent.run_id, RunEvent.target, RunEvent.at, until.label("until"))
        .where(RunEvent.run_id.in_(run_ids))
        .subquery()
    )
    # The clock may have been set back between two moves: no stretch takes time away.
    length = func.coalesce(stretches.c.until, NOW) - stretches.c.at
    seconds = func.sum(case((length > 0, length), else_=0.0))
    query = (
        select(stretches.c.run_id, seconds)
        .where(stretches.c.target.in_(_OWNED))
        .group_by(stretches.c.run_id)
    )  # fmt: skip
    return {run_id: float(total) for run_id, total in session.execute(query)}
