"""What all runs of a sweep would take together, before anything is stored."""

from __future__ import annotations

import heapq
import json
from collections import Counter
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.database import NOW
from backend.estimates import NOBODY, lookup, machines
from backend.models import Node
from backend.schemas.sweeps import SweepEstimate
from backend.settings import Settings
from backend.sweep_plan import Plan, PlannedRun
from copg_core.config import RunConfig
from copg_core.estimate import Machine, duration, estimate_run
from copg_core.inputs import Lookup

_MOST_KINDS = 40  # of configurations that differ in what costs memory or time
_COSTS_NOTHING = {"seed", "beta", "divergence", "group", "normalisation"}


def sweep_estimates(session: Session, planned: Plan, settings: Settings) -> list[SweepEstimate]:
    """One estimate for each kind of device that a living worker has."""
    kinds: dict[str, PlannedRun] = {}
    counts: Counter[str] = Counter()
    for run in (*planned.parents, *planned.members):
        key = _cost_key(run.config)
        kinds.setdefault(key, run)
        counts[key] += 1
    found = _planned_lookup(lookup(session, settings.data_path), planned)
    return [
        _on(machine, kinds, counts, found, planned, _slots(session, machine, settings.lease_seconds))
        for machine in machines(session, settings.lease_seconds) or [Machine(NOBODY, None)]
    ]


def _cost_key(config: RunConfig) -> str:
    stored = config.model_dump(mode="json", exclude=_COSTS_NOTHING)
    stored["optimizer"] = None
    return json.dumps(stored, sort_keys=True)


def _planned_lookup(stored: Lookup, planned: Plan) -> Lookup:
    """The same for runs that the sweep itself would make first."""
    made = {f"${run.parent}": run.config for run in planned.parents}
    return Lookup(
        lambda run: Path(run) if run in made else stored.resolve_run(run),
        lambda run: made.get(run) or stored.parent(run),
    )


def _slots(session: Session, machine: Machine, lease_seconds: float) -> int:
    """Slots of the living workers that have this kind of device."""
    slots = 0
    for node in session.scalars(select(Node).where(Node.seen > NOW - lease_seconds)):
        names = {f"the processor of {node.host}"} if machine.cpu else {str(one.get("name")) for one in node.devices}
        slots += node.slots if machine.name in names else 0
    return slots


def _on(
    machine: Machine,
    kinds: dict[str, PlannedRun],
    counts: Counter[str],
    found: Lookup,
    planned: Plan,
    slots: int,
) -> SweepEstimate:
    seconds: dict[str, float] = {}
    unknown: dict[str, None] = {}
    do_not_fit = 0
    for number, (key, run) in enumerate(kinds.items()):
        if number >= _MOST_KINDS:
            unknown[f"these are {len(kinds)} runs of different cost: only the first {_MOST_KINDS} were estimated"] = (
                None
            )
            break
        one = estimate_run(run.config, machine, found)
        do_not_fit += counts[key] if one.memory is not None and not one.memory.fits and machine.memory else 0
        unknown.update(dict.fromkeys(one.unknown))
        if one.time is not None:
            seconds[key] = one.time.total
    whole = len(seconds) == len(kinds)
    total = sum(seconds[key] * counts[key] for key in kinds) if whole else None
    wall = _wall(planned, seconds, slots) if whole and slots else None
    return SweepEstimate(
        device=machine.name,
        slots=slots,
        seconds=total,
        duration=None if total is None else f"about {duration(total)}",
        wall_seconds=wall,
        wall_duration=None if wall is None else f"about {duration(wall)}",
        do_not_fit=do_not_fit,
        unknown=list(unknown),
    )


def _wall(planned: Plan, seconds: dict[str, float], slots: int) -> float:
    """Parents one after the other, then the members on as many lanes as there are slots."""
    lanes = [0.0] * slots
    for run in planned.members:
        heapq.heapreplace(lanes, lanes[0] + seconds[_cost_key(run.config)])
    return sum(seconds[_cost_key(run.config)] for run in planned.parents) + max(lanes)
