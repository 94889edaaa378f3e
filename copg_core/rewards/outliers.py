"""What rewards look like as a whole, and which stand far outside: one wild reward can own a whole batch's gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from copg_core.events import Evaluation, Report
from copg_core.rewards.scorer import Rewards, shortened
from copg_core.wording import fixed, number

# Of normal rewards one in 1.7 million is further out; the few that are listed ought to be wrong, not merely rare.
LARGEST_Z = 5.0
LISTED = 3
# Of the median, which a wild reward does not move: a float32 model that scores one text in two batches differs by less than this.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Outlier:
    """One reward far from the others; `z` is its robust distance from the median."""

    index: int
    reward: float
    z: float


def robust_z(rewards: Rewards) -> Rewards:
    """z = (R − median) / s with s = 1.4826·MAD, the standard deviation of normal rewards that few outliers can move.

    Where more than half of the rewards are equal MAD is 0 and s = 1.2533·mean|R − median|. A reward with fewer than three
    values (passed or not) has no outliers: z = 0. Differences within rounding count as none. Source: Iglewicz and Hoaglin, *How to Detect and Handle Outliers*, 1993.
    """
    if not len(rewards):
        return np.zeros_like(rewards)
    median = np.median(rewards)
    distance: Rewards = rewards - median
    distance[np.abs(distance) <= ROUNDING * abs(median)] = 0.0
    if len(np.unique(distance.astype(np.float32))) < 3:
        return np.zeros_like(rewards)
    spread = 1.4826 * float(np.median(np.abs(distance))) or 1.2533 * float(np.abs(distance).mean())
    return distance / spread


def outliers_of(rewards: Rewards) -> list[Outlier]:
    """The rewards with |z| > 5, the furthest first."""
    z = robust_z(rewards)
    far = np.flatnonzero(np.abs(z) > LARGEST_Z)
    return [Outlier(int(i), float(rewards[i]), float(z[i])) for i in far[np.argsort(-np.abs(z[far]), kind="stable")]]


def reward_report(rewards: Rewards, prompts: Sequence[str]) -> dict[str, str | int | float | bool | None]:
    """Count, quantiles and the furthest outliers with their prompts. `rewards` is (n, K) for n prompts, or (n,)."""
    flat = rewards.reshape(-1)
    per_prompt = rewards.size // max(len(prompts), 1)
    names = ("min", "quantile_05", "median", "quantile_95", "max")
    values = np.quantile(flat, (0, 0.05, 0.5, 0.95, 1)) if len(flat) else [None] * len(names)
    far = outliers_of(flat)
    report: dict[str, str | int | float | bool | None] = {
        "completions": len(flat),
        **{name: None if value is None else float(value) for name, value in zip(names, values, strict=True)},
        "outliers": len(far),
    }
    for place, one in enumerate(far[:LISTED], start=1):
        prompt = shortened(prompts[one.index // per_prompt])
        report[f"outlier_{place}"] = f"{number(one.reward)} (z = {fixed(one.z, 1)}) for the prompt {prompt!r}"
    return report


def evaluation_outliers(evaluation: Evaluation) -> Report | None:
    """The report of an evaluation in which rewards stand far outside, with their prompts; None where none do."""
    scored = [(sample.reward, sample.prompt) for sample in evaluation.samples if sample.reward is not None]
    report = reward_report(np.array([reward for reward, _ in scored]), [prompt for _, prompt in scored])
    return (
        Report(section="evaluation_rewards", values={"step": evaluation.step, **report}) if report["outliers"] else None
    )
