"""The groups of a comparison: runs that differ only by seed, and the mean over them at each evaluation.

A group's curve is the mean over its seeds, with the standard error over them; one seed has the standard error over prompts.
A seed without an evaluation is in no mean and in no n, nor is one that was given up before the others came as far.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from backend.states import TERMINAL, RunState
from backend.statistics import mean_and_stderr
from backend.yardsticks import Measure


class Point(NamedTuple):
    """One evaluation of a run, or the mean of a group's evaluations at a step. `over` is what the error is over.

    `seconds` since the first evaluation; `device_seconds` for which the run's devices were held until then, summed over the
    devices of all attempts.
    `smooth` is the measure's local fit, where one is asked for. `of_seeds`: of the group, with those that are in no mean.
    """

    step: int
    reward: float | None
    stderr: float | None
    gold: float | None
    gold_stderr: float | None
    kl: float | None
    seconds: float
    n: int
    seeds: int = 1
    device_seconds: float = 0.0
    smooth: float | None = None
    of_seeds: int = 1
    kl_stderr: float | None = None

    def of(self, measure: Measure) -> tuple[float | None, float | None]:
        """Mean and standard error of the learned or of the gold reward."""
        return (self.reward, self.stderr) if measure == "reward" else (self.gold, self.gold_stderr)

    @property
    def over(self) -> str:
        prompts = f"{self.n:,} prompts" if self.seeds == 1 else ""
        if self.seeds == self.of_seeds:
            return prompts or f"{self.seeds} seeds"
        return f"{prompts}{', ' if prompts else ''}{self.seeds} of {self.of_seeds} seeds"

    @property
    def independent(self) -> int:
        """How many values the error is over."""
        return self.seeds if self.seeds > 1 else self.n


@dataclass(frozen=True)
class Member:
    """One run of a comparison."""

    uid: str
    name: str
    algorithm: str
    variant: str | None
    beta: float | None
    state: RunState
    settings: Mapping[str, Any]
    points: Sequence[Point]
    yardstick: Mapping[str, Any] = field(default_factory=dict)
    start: str = ""

    @property
    def finished(self) -> bool:
        return self.state == RunState.SUCCEEDED


@dataclass(frozen=True)
class Group:
    """Runs that differ by nothing but their seed."""

    id: str
    label: str
    algorithm: str
    beta: float | None
    members: Sequence[Member]
    points: Sequence[Point] = field(default=())

    @property
    def last(self) -> Point | None:
        """At the last step that all seeds of its mean have."""
        return self.points[-1] if self.points else None

    @property
    def measured(self) -> list[Member]:
        """Those that the means are over."""
        return _counted(self.members)

    @property
    def given_up(self) -> list[Member]:
        """Those with evaluations that are in no mean."""
        kept = {member.uid for member in self.measured}
        return [member for member in self.members if member.points and member.uid not in kept]

    def has(self, measure: Measure) -> bool:
        """Whether any of its evaluations has this score: without a reward, as in most of SFT, there is none."""
        return any(point.of(measure)[0] is not None for member in self.members for point in member.points)

    @property
    def yardstick(self) -> Mapping[str, Any]:
        return self.members[0].yardstick

    @property
    def finished(self) -> bool:
        """Whether its mean is final: every seed that is in it has finished, and none is still to come."""
        kept = {member.uid for member in self.measured}
        over = all(member.finished or (member.uid not in kept and member.state in TERMINAL) for member in self.members)
        return over and any(member.finished for member in self.members)


def _counted(members: Sequence[Member]) -> list[Member]:
    """The seeds that a mean is over: those with evaluations, but without one that was given up (failed, cancelled) before the others have
    come as far. It would end the curve of its group for good; `given_up` tells of it, as leaving it out may flatter."""
    measured = [member for member in members if member.points]
    lasting = [member for member in measured if member.finished or member.state not in TERMINAL]
    farthest = max((member.points[-1].step for member in lasting), default=0)
    return [
        member
        for member in measured
        if member.finished or member.state not in TERMINAL or member.points[-1].step >= farthest
    ]


def mean_of(members: Sequence[Member]) -> list[Point]:
    """The mean over the seeds that count; steps that only some of them have are left out, or the mean would jump."""
    measured = _counted(members)
    if len(measured) == 1:
        return [point._replace(of_seeds=len(members)) for point in measured[0].points]
    by_step: dict[int, list[Point]] = defaultdict(list)
    for member in measured:
        for point in member.points:
            by_step[point.step].append(point)
    found = []
    for step, points in sorted(by_step.items()):
        if len(points) < len(measured):
            continue
        reward, stderr = _over_seeds([point.reward for point in points])
        gold, gold_stderr = _over_seeds([point.gold for point in points])
        kl, kl_stderr = _over_seeds([point.kl for point in points])
        found.append(
            Point(
                step, reward, stderr, gold, gold_stderr, kl, sum(point.seconds for point in points) / len(points), points[0].n,
                seeds=len(points), device_seconds=sum(point.device_seconds for point in points) / len(points),
                of_seeds=len(members), kl_stderr=kl_stderr,
            )
        )  # fmt: skip
    return found


def _over_seeds(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    if any(value is None for value in values):
        return None, None
    mean, stderr = mean_and_stderr(values)
    return mean, None if math.isnan(stderr) else stderr
