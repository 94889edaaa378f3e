"""The calls that benchmarks/store.py times of everybody's store: the same runs, the same points, the same questions.

Only the standard library is used here, since MLflow and trackio run in an environment of their own (peers.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, Protocol

RUNS, CURVES, CURVE, THINNED = 1_000, 20, 10_000, 500
POINTS, BATCH = 100_000, 1_000  # of one run that is written while the clock runs
PAGE = 100  # runs that a list shows
ROUNDS = 9


class Store(Protocol):
    """One way to keep runs. `fewest`: points that it leaves of a curve when it thins to THINNED. `found` of a list is the names of its runs, so that the answers can be told to be the same."""

    fewest: int

    def make_runs(self, runs: Sequence[dict[str, Any]]) -> None:
        """Each has a `name`, a whole `config` (path to value), `paper` (is it tagged so) and `last_reward`."""

    def write(self, run: str, steps: range) -> None:
        """One batch of points of the metric `loss`."""

    def read(self, run: str) -> int:
        """The whole curve; how many points it has."""

    def thinned(self, runs: Sequence[str]) -> list[int]:
        """The curves of these runs, at most THINNED points each; how many each has."""

    def newest(self) -> list[str]:
        """The newest PAGE runs with their configurations and tags."""

    def conditions(self) -> list[str]:
        """Runs with `beta` of at least 0.03, a learning rate below 1e-5 and the tag, the largest beta first; the first PAGE."""

    def by_rate(self) -> list[str]:
        """All runs by learning rate, the first PAGE."""


def measure(store: Store, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians over ROUNDS, and what the lists found."""
    names = [run["name"] for run in runs]
    store.make_runs(runs)
    long, *others = names[: CURVES + 1]
    for name in others:
        for first in range(0, CURVE, BATCH):
            store.write(name, range(first, first + BATCH))
    writing = [
        _seconds(lambda first=first: store.write(long, range(first, first + BATCH)))
        for first in range(0, POINTS, BATCH)
    ]
    assert store.read(long) == POINTS
    assert all(store.fewest <= count <= THINNED + 1 for count in store.thinned(others))
    calls: dict[str, Callable[[], object]] = {
        "a curve of 100,000 points": lambda: store.read(long),
        "20 curves thinned to 500 points": lambda: store.thinned(others),
        "list: newest": store.newest,
        "list: three conditions, by beta": store.conditions,
        "list: all, by learning rate": store.by_rate,
    }
    milliseconds = {name: median(_seconds(call) for _ in range(ROUNDS)) * 1e3 for name, call in calls.items()}
    milliseconds["1,000 points written"] = median(writing) * 1e3
    assert len(store.newest()) == PAGE
    return {
        "milliseconds": milliseconds,
        "found": {"conditions": sorted(store.conditions()), "by_rate": store.by_rate()},
    }


def _seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin
