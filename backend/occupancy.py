"""How long runs have held their devices: over all attempts, from the history of their moves, exact to the moment.

A run occupies its worker from the move to RUNNING until the move to a state that nobody owns; CANCELLING still counts. An attempt holds
the GPUs that were booked for it, or one CPU slot. Of attempts from before the history said so, it is the number that the run asks for now.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Select, Subquery, case, func, select
from sqlalchemy.orm import Session

from backend.database import NOW
from backend.models import Run, RunEvent
from backend.states import OWNED

_OWNED = [state.value for state in OWNED]


class Held(NamedTuple):
    """`seconds` for which workers held a run, and the same times as many devices as each attempt had."""

    seconds: float = 0.0
    device_seconds: float = 0.0


class Stretch(NamedTuple):
    """From when until when a run held so many devices."""

    begin: float
    end: float
    devices: int = 1


def held_by(session: Session, run_ids: Select[int]) -> dict[int, Held]:
    """What workers have held for each of the selected runs; runs that nobody ever held are left out."""
    stretches = _stretches(run_ids)
    # The clock may have been set back between two moves: no stretch takes time away.
    length = func.coalesce(stretches.c.until, NOW) - stretches.c.at
    seconds = case((length > 0, length), else_=0.0)
    query = (
        select(stretches.c.run_id, func.sum(seconds), func.sum(seconds * stretches.c.devices))
        .where(stretches.c.target.in_(_OWNED))
        .group_by(stretches.c.run_id)
    )
    return {run_id: Held(float(total), float(of_devices)) for run_id, total, of_devices in session.execute(query)}


def stretches_of(session: Session, run_ids: Select[int]) -> dict[int, Sequence[Stretch]]:
    """When each of the selected runs held its devices, in the order of its attempts; what goes on ends at infinity."""
    stretches = _stretches(run_ids)
    query = (
        select(stretches.c.run_id, stretches.c.at, stretches.c.until, stretches.c.devices)
        .where(stretches.c.target.in_(_OWNED))
        .order_by(stretches.c.run_id, stretches.c.at)
    )
    found: dict[int, list[Stretch]] = defaultdict(list)
    for run_id, begin, end, devices in session.execute(query):
        found[run_id].append(Stretch(begin, float("inf") if end is None else end, devices))
    return dict(found)


def device_seconds_until(stretches: Sequence[Stretch], moment: float) -> float:
    """Seconds of the stretches before a moment, times their devices.

    >>> device_seconds_until([Stretch(10.0, 20.0, 4), Stretch(50.0, float("inf"), 2)], 53.0)
    46.0
    """
    return sum(max(0.0, min(one.end, moment) - one.begin) * one.devices for one in stretches)


def _stretches(run_ids: Select[int]) -> Subquery:
    """Every move of the selected runs with the moment of the next, and the devices that were held from it on."""
    run, order = RunEvent.run_id, RunEvent.id
    until = func.lead(RunEvent.at).over(partition_by=run, order_by=order)
    before = func.lag(RunEvent.devices).over(
        partition_by=run, order_by=order
    )  # CANCELLING comes right after RUNNING, and keeps its devices
    asked = case((Run.gpus > 1, Run.gpus), else_=1)
    return (
        select(
            RunEvent.run_id, RunEvent.target, RunEvent.at, until.label("until"),
            func.coalesce(RunEvent.devices, before, asked).label("devices"),
        )
        .join(Run, Run.id == RunEvent.run_id)
        .where(RunEvent.run_id.in_(run_ids))
        .subquery()
    )  # fmt: skip
