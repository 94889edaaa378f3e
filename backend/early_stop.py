"""When a run of a sweep is given up, and on what evidence. Pure: numbers in, a verdict out (docs/decisions/0018).

`paired` compares a run with the best of its rivals at the same step, prompt by prompt, and bounds the chance that a
sweep gives up even one run whose policy is no worse than its rivals'. `median` is the usual rule of thumb without such
a bound.
"""

from __future__ import annotations

import statistics as plain
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from backend.statistics import as_array, paired
from copg_core.wording import number, with_error

LEAST_PROMPTS = 30  # below this nobody trusts a p-value of one in ten thousand
LEAST_RIVALS = 3  # a median of fewer is one run's luck
RESERVED = 0.25  # of what is left of alpha, for runs that are added later: else an extension of a sweep that has ended had none

Rewards = Mapping[tuple[int, str], float | None]
"""Reward by prompt: its number and its text, so that two runs are only compared on what both were asked."""


class EarlyStop(BaseModel):
    """The rule by which hopeless runs of a sweep are stopped."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="Early stop", allow_inf_nan=False)
    rule: Literal["paired", "median"] = Field(
        "paired", title="Rule",
        description="paired: behind the best run on the same prompts, beyond chance. median: the best reward so far is below "
        "the median of the others' averages; no error rate is known for it.",
    )  # fmt: skip
    against: Literal["algorithm", "sweep"] = Field(
        "algorithm", title="Compared with", description="Runs of the same algorithm, or all runs of the sweep."
    )
    alpha: float = Field(
        0.05, gt=0, lt=0.5, title="Error rate",
        description="Largest chance that the sweep stops any run whose policy is no worse than the others'. paired only.",
        json_schema_extra={"unit": "probability"},
    )  # fmt: skip
    margin: float = Field(
        0.25, ge=0, le=10, title="Margin",
        description="A run must be behind by more than this, of the reward over prompts: what seeds alone make of a difference. "
        "paired only.", json_schema_extra={"unit": "standard deviations"},
    )  # fmt: skip
    after: float = Field(
        0.5, ge=0, le=1, title="Not before", description="Share of a run's steps before which it is never stopped.",
        json_schema_extra={"unit": "share of steps"},
    )  # fmt: skip
    evaluations: int = Field(
        2, ge=1, title="Evaluations", description="Of the run, step 0 not counted, before which it is never stopped.",
        json_schema_extra={"unit": "evaluations"},
    )  # fmt: skip


class Evidence(BaseModel):
    """The numbers that a run was stopped on."""

    rule: Literal["paired", "median"]
    step: int
    reward: float = Field(description="Of the stopped run: its mean at that step; by the median rule its best so far.")
    rival: str | None = Field(None, description="Id of the run it was compared with.")
    rival_name: str | None = None
    rival_reward: float = Field(description="The best run's mean at that step, or the median of averages.")
    rivals: int
    difference: float
    stderr: float | None = Field(None, description="Standard error of the difference over prompts.")
    n: int | None = Field(None, description="Prompts that both answered.")
    margin: float | None = Field(None, description="In reward units.")
    p_value: float | None = Field(None, description="One-sided, of a difference within the margin.")
    level: float | None = Field(
        None,
        description="What p_value had to be below: `left`, shared by the tests that could still be made. In a sweep that is not "
        "extended, alpha / (looks x comparisons), of three quarters of alpha: the rest is kept for extensions.",
    )
    left: float | None = Field(
        None, description="What earlier tests had left of alpha, without what is kept for extensions."
    )
    looks: int | None = None
    comparisons: int | None = None

    def sentence(self) -> str:
        """The evidence as a reason that stands in a run's history."""
        begin = f"stopped early at step {self.step}: "
        if self.rule == "median":
            return (
                f"{begin}its best reward so far, {number(self.reward, 3)}, is below {number(self.rival_reward, 3)}, the median of the "
                f"averages of {self.rivals} other runs"
            )
        assert self.p_value is not None  # of the paired rule
        assert self.level is not None
        assert self.margin is not None
        return (
            f"{begin}reward {number(self.reward, 3)} below the best ({self.rival_name}, {number(self.rival_reward, 3)}) by "
            f"{with_error(-self.difference, self.stderr)} over {self.n} prompts, p = {number(self.p_value, 2)} for a gap within "
            f"{number(self.margin, 2)} (below {number(self.level, 2)} required: {self.looks} looks, {self.comparisons} comparisons)"
        )


class StoppedEarly(BaseModel):
    """That a run was given up, and why."""

    reason: str = Field(description="The evidence in a sentence.")
    evidence: Evidence
    at: datetime
    resumed: bool = Field(description="It was taken up again since, and is left alone.")


@dataclass(frozen=True)
class Contender:
    """A run as the rule sees it: mean reward by evaluated step."""

    run: str
    name: str
    means: Mapping[int, float]


@dataclass(frozen=True)
class Budget:
    """How much of alpha one judgement may use. A test is a judged run beside one rival at one look.

    left       what earlier judgements did not use
    tests      that may still be made in the whole sweep, the ones of this judgement among them
    mine       of this judgement: any of its rivals might turn out to be the best

    Whatever is added to a sweep or deleted from it between two judgements, the levels of all tests together are at most alpha.
    """

    left: float
    tests: int
    mine: int

    @property
    def level(self) -> float:
        """What a p-value has to be below."""
        return max(0.0, self.left) / max(self.tests, self.mine, 1)

    @property
    def used(self) -> float:
        """Of alpha, by this judgement."""
        return self.level * self.mine


def left_of(alpha: float, *, spent: float, before: float) -> float:
    """What the tests of a sweep as it is may still use. `spent` by all tests so far, `before` of it when it was last extended.

    >>> round(left_of(0.05, spent=0.0, before=0.0), 4), round(left_of(0.05, spent=0.0375, before=0.0375), 4)
    (0.0375, 0.0094)
    """
    return (1 - RESERVED) * (alpha - before) - (spent - before)


def looks(rule: EarlyStop, total_steps: int, every: int) -> list[int]:
    """The evaluated steps at which a run is judged. Not at its last: by then there is nothing left to save."""
    steps = range(every, total_steps, every)
    return [
        step for count, step in enumerate(steps, 1) if step >= rule.after * total_steps and count >= rule.evaluations
    ]


def judge(
    rule: EarlyStop,
    mine: Contender,
    rivals: Sequence[Contender],
    *,
    steps: Sequence[int],
    comparisons: int,
    budget: Budget,
    rewards: Callable[[str, int], Rewards],
) -> Evidence | None:
    """Whether `mine` is hopeless, by its newest evaluation that a rival has too.

    `steps` are all its `looks`, `comparisons` the ordered pairs of runs in the sweep that may be compared, for the record;
    `rewards(run, step)` reads what each prompt earned.
    """
    least = LEAST_RIVALS if rule.rule == "median" else 1
    for step in sorted(mine.means.keys() & set(steps), reverse=True):
        there = [rival for rival in rivals if step in rival.means]
        if len(there) >= least:
            if rule.rule == "median":
                return _behind_the_median(mine, there, step)
            found = _behind_the_best(rule, mine, there, step, budget, rewards)
            return found and found.model_copy(update={"looks": len(steps), "comparisons": comparisons})
    return None


def _behind_the_best(
    rule: EarlyStop,
    mine: Contender,
    rivals: Sequence[Contender],
    step: int,
    budget: Budget,
    rewards: Callable[[str, int], Rewards],
) -> Evidence | None:
    best = max(rivals, key=lambda rival: rival.means[step])
    if best.means[step] <= mine.means[step]:
        return None
    own, other = rewards(mine.run, step), rewards(best.run, step)
    prompts = [key for key in own if own[key] is not None and other.get(key) is not None]
    found = paired([own[key] for key in prompts], [other[key] for key in prompts])
    if found.n < LEAST_PROMPTS:
        return None
    spread = float(as_array([other[key] for key in prompts]).std(ddof=1))
    margin = rule.margin * spread
    # Which rival is the best is chosen by looking, so every ordered pair counts, whether it was compared or not.
    p_value = found.p_below(margin)
    if p_value >= budget.level:
        return None
    return Evidence(
        rule="paired", step=step, reward=mine.means[step], rival=best.run, rival_name=best.name,
        rival_reward=best.means[step], rivals=len(rivals), difference=found.mean, stderr=found.stderr, n=found.n,
        margin=margin, p_value=p_value, level=budget.level, left=budget.left,
    )  # fmt: skip


def _behind_the_median(mine: Contender, rivals: Sequence[Contender], step: int) -> Evidence | None:
    def until(one: Contender) -> list[float]:
        return [mean for at, mean in one.means.items() if 0 < at <= step]

    best, median = max(until(mine)), plain.median(plain.fmean(until(rival)) for rival in rivals)
    if best >= median:
        return None
    return Evidence(rule="median", step=step, reward=best, rival_reward=median, rivals=len(rivals),
                    difference=best - median)  # fmt: skip
