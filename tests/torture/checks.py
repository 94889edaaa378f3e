"""What must be true afterwards, whatever went wrong meanwhile. Each check returns sentences about what is not."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.models import Run, RunEvent
from backend.models_machines import Gpu
from backend.states import TERMINAL, RunState, may_move
from tests.torture import recipes
from tests.torture.person import Planned
from tests.torture.recorded import differences, of_rows, weights_hash


def history_problems(name: str, state: str, history: Sequence[RunEvent]) -> list[str]:
    """A run's events are one unbroken chain of allowed moves, with exactly one terminal event for each end of its life."""
    said = []
    if not history or history[0].origin is not None or history[0].target not in ("queued", "waiting"):
        return [f"{name} does not begin as queued or waiting"]
    for before, after in pairwise(history):
        if after.origin != before.target:
            said.append(f"{name} went from {before.target}, but its next event begins at {after.origin}")
        if after.origin is None or not may_move(RunState(after.origin), RunState(after.target)):
            said.append(f"{name} went from {after.origin} to {after.target}, which no run may")
        raised = after.fence - before.fence
        if raised < 0 or (after.target == RunState.RUNNING and raised < 1):
            said.append(f"{name} was claimed as attempt {after.fence} after attempt {before.fence}")
    if history[-1].target != state:
        said.append(f"{name} is {state}, but its last event says {history[-1].target}")
    ends = sum(event.target in TERMINAL for event in history)
    again = sum(event.origin in TERMINAL for event in history)
    if ends != again + 1:
        said.append(f"{name} has {ends} terminal events in {again + 1} lives")
    return said


def expected_states(one: Planned, states: dict[str, str]) -> set[str]:
    """The states in which a planned run may have ended, given those of its parent."""
    if one.recipe == recipes.POISONED:
        return {"failed", "cancelled"} if one.cancelled else {"failed"}
    if one.parent is not None and states[one.parent] == "cancelled":
        return {"cancelled"}
    return {"cancelled", "succeeded"} if one.cancelled else {"succeeded"}


def run_problems(session: Session, planned: list[Planned], undisturbed: dict[str, Any]) -> list[str]:
    """Everything about every run that was planned, and that there is no other."""
    said = []
    rows = {run.name: run for run in session.scalars(select(Run))}
    if len(rows) != len(planned):
        said.append(f"{len(planned)} runs were launched and {len(rows)} are there")
    states = {name: run.state for name, run in rows.items()}
    if taken := session.scalars(select(Gpu.uuid).where(Gpu.run_id.is_not(None))).all():
        said.append(f"GPUs are still taken although every run has ended: {taken}")
    for one in planned:
        run = rows.get(one.key)
        if run is None:
            said.append(f"{one.key} is not there")
            continue
        events = session.scalars(select(RunEvent).where(RunEvent.run_id == run.id).order_by(RunEvent.id)).all()
        said += history_problems(one.key, run.state, events)
        if run.state not in expected_states(one, states):
            said.append(f"{one.key} ({one.recipe}) is {run.state}: {run.error_kind}, {run.error}")
        if run.owner is not None or run.lease_until is not None:
            said.append(f"{one.key} has ended and still has an owner or a lease: {run.owner}, {run.lease_until}")
        if run.state == "failed" and one.recipe == recipes.POISONED and run.error_kind != "data":
            said.append(f"{one.key} failed with {run.error_kind} ({run.error}) and not with its data")
        if run.state == "succeeded":
            alone = undisturbed[one.recipe]
            said += [
                f"{one.key} ({one.recipe}): {text}" for text in differences(alone["recorded"], of_rows(session, run))
            ]
            if weights_hash(run.output_path) != alone["weights"]:
                said.append(f"{one.key} ({one.recipe}) has other weights than a run that was left alone")
    return said
