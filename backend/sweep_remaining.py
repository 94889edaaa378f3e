"""How long a sweep still takes, from the paces that its runs have shown and the slots of the workers. Pure."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from backend.schemas.sweeps import Remaining
from backend.states import OWNED, TERMINAL, RunState

_LEAST_STEPS = 2  # the first step of an attempt pays for warming up


@dataclass(frozen=True)
class Pace:
    """What is known of one run's speed. `remaining` is its own estimate, in seconds, while it trains."""

    state: RunState
    algorithm: str
    parent: bool
    step: int
    total_steps: int | None
    remaining: float | None
    held: float
    """Seconds that workers have held it."""


def remaining(runs: Sequence[Pace], slots: int, *, paused: bool = False) -> Remaining:
    """Seconds until the last run ends: parents first, then the others on `slots` in the order of the queue."""
    open_runs = [run for run in runs if run.state not in TERMINAL]
    if not open_runs:
        return Remaining(seconds=0.0, reason=None)
    at_work = sum(run.state in OWNED for run in open_runs)
    if paused and at_work < len(open_runs):
        return Remaining(seconds=None, reason="the queue is paused")
    if slots + at_work == 0:
        return Remaining(seconds=None, reason="no living worker has room for it")
    paces = _paces(runs)
    before = 0.0
    lanes = [0.0] * max(slots, at_work, 1)
    # Runs at work have their slots already; the others follow as slots come free.
    for run in sorted(open_runs, key=lambda run: (not run.parent, run.state not in OWNED)):
        needs = _needs(run, paces, runs)
        if isinstance(needs, str):
            return Remaining(seconds=None, reason=needs)
        if run.parent:
            before += needs
        else:
            heapq.heapreplace(lanes, lanes[0] + needs)
    seconds = before + max(lanes)
    return Remaining(
        seconds=round(seconds, 1),
        reason=f"at the pace seen so far, {len(lanes)} run{'s' if len(lanes) > 1 else ''} at a time, if nothing else is queued",
    )


def _paces(runs: Sequence[Pace]) -> dict[str, float]:
    """Seconds a step, loading and evaluations included, by algorithm."""
    seconds: dict[str, float] = defaultdict(float)
    steps: dict[str, int] = defaultdict(int)
    for run in runs:
        if run.step >= _LEAST_STEPS and run.held > 0:
            seconds[run.algorithm] += run.held
            steps[run.algorithm] += run.step
    return {algorithm: seconds[algorithm] / steps[algorithm] for algorithm in seconds}


def _needs(run: Pace, paces: dict[str, float], runs: Sequence[Pace]) -> float | str:
    """Seconds that a run still needs, or why nobody can tell."""
    if run.remaining is not None:
        return run.remaining
    total = run.total_steps if run.total_steps is not None else _total_of_others(run, runs)
    pace = paces.get(run.algorithm)
    if pace is None and not run.parent:
        # An algorithm of the sweep that has not begun: as slow as the slowest of the others.
        others = {other.algorithm for other in runs if not other.parent}
        pace = max((paces[algorithm] for algorithm in others & paces.keys()), default=None)
    if pace is None:
        return f"no {run.algorithm} run of it has made two steps yet"
    if total is None:
        return f"nobody knows yet how many steps its {run.algorithm} runs have"
    return max(0, total - run.step) * pace


def _total_of_others(run: Pace, runs: Sequence[Pace]) -> int | None:
    totals = {other.total_steps for other in runs if other.algorithm == run.algorithm and other.total_steps is not None}
    return totals.pop() if len(totals) == 1 else None
