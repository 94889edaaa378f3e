"""How long runs have held their devices: over all attempts, from the history of their moves, exact to the moment.

A run occupies its worker from the move to RUNNING until the move to a state that nobody owns; CANCELLING still counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import Select, Subquery, case, func, select
from sqlalchemy.orm import Session

from backend.database import NOW
from backend.models import RunEvent
from backend.states import OWNED

_OWNED = [state.value for state in OWNED]


def seconds_of(session: Session, run_ids: Select[int]) -> dict[int, float]:
    """Seconds that workers have held each of the selected runs; runs that nobody ever held are left out."""
    stretches = _stretches(run_ids)
    # The clock may have been set back between two moves: no stretch takes time away.
    length = func.coalesce(stretches.c.until, NOW) - stretches.c.at
    seconds = func.sum(case((length > 0, length), else_=0.0))
    query = (
        select(stretches.c.run_id, seconds)
        .where(stretches.c.target.in_(_OWNED))
        .group_by(stretches.c.run_id)
    )  # fmt: skip
    return {run_id: float(total) for run_id, total in session.execute(query)}


Stretches = Sequence[tuple[float, float]]
"""From when until when a run held its devices, in the order of its attempts."""


def stretches_of(session: Session, run_ids: Select[int]) -> dict[int, Stretches]:
    """When each of the selected runs held its devices; what goes on ends at infinity."""
    stretches = _stretches(run_ids)
    query = (
        select(stretches.c.run_id, stretches.c.at, stretches.c.until)
        .where(stretches.c.target.in_(_OWNED))
        .order_by(stretches.c.run_id, stretches.c.at)
    )
    found: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for run_id, begin, end in session.execute(query):
        found[run_id].append((begin, float("inf") if end is None else end))
    return dict(found)


def held_until(stretches: Stretches, moment: float) -> float:
    """Seconds of the stretches before a moment.

    >>> held_until([(10.0, 20.0), (50.0, float("inf"))], 53.0)
    13.0
    """
    return sum(max(0.0, min(end, moment) - begin) for begin, end in stretches)


def _stretches(run_ids: Select[int]) -> Subquery:
    """Every move of the selected runs with the moment of the next."""
    until = func.lead(RunEvent.at).over(partition_by=RunEvent.run_id, order_by=RunEvent.id)
    return (
        select(RunEvent.run_id, RunEvent.target, RunEvent.at, until.label("until"))
        .where(RunEvent.run_id.in_(run_ids))
        .subquery()
    )
