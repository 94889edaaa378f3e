"""How often the early stop of a sweep errs, by simulation: the figures of docs/decisions/0018.

    python experiments/early_stop.py

Rewards are simulated as prompts make them: each prompt has a difficulty that all runs share, and each answer its own luck.
Levels are in units of the spread over prompts. A few minutes on one core.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from backend.early_stop import Budget, Contender, EarlyStop, Evidence, Rewards, judge, left_of, looks

RUNS, STEPS, EVERY, PROMPTS = 8, 200, 20, 64
Luck = Literal["normal", "skewed", "binary"]


def simulate(
    rule: EarlyStop,
    rng: np.random.Generator,
    levels: Sequence[float],
    *,
    luck: Luck = "normal",
    prompts: int = PROMPTS,
    first: int | None = None,
) -> list[Evidence | None]:
    """The verdict on each of a sweep's runs; run i has mean reward levels[i] in units of the spread over prompts.

    All runs reach each step together, and all are compared with each other; one that was stopped stops nobody. Where only the
    `first` were asked for at first, they train to their end before the sweep is extended by the others.
    """
    steps = looks(rule, STEPS, EVERY)
    judged = [-1] * len(levels)
    spent = 0.0
    difficulty = rng.normal(size=prompts) * np.sqrt(0.5)
    rewards: dict[tuple[str, int], Rewards] = {}
    means: dict[str, dict[int, float]] = {str(run): {} for run in range(len(levels))}
    verdicts: list[Evidence | None] = [None] * len(levels)
    there = range(len(levels))
    rounds = [there] if first is None else [there[:first], there[first:]]
    before: dict[int, float] = {}
    for fresh, step in ((fresh, step) for fresh in rounds for step in range(EVERY, STEPS + 1, EVERY)):
        known = range(fresh.stop)
        for run, level in ((run, levels[run]) for run in fresh):
            own = _rewards(rng, difficulty, level, luck)
            rewards[str(run), step] = {(number, ""): float(value) for number, value in enumerate(own)}
            means[str(run)][step] = float(own.mean())
        for run in fresh:
            rivals = [_contender(other, means) for other in known if other != run and not verdicts[other]]
            if step in steps and verdicts[run] is None:
                to_come = sum(at > judged[one] for one in known for at in steps)
                left = left_of(rule.alpha, spent=spent, before=before.setdefault(known.stop, spent))
                budget = Budget(left, to_come * (len(known) - 1), len(known) - 1)
                verdicts[run] = judge(
                    rule, _contender(run, means), rivals, steps=steps, comparisons=len(known) * (len(known) - 1), budget=budget,
                    rewards=lambda uid, at: rewards[uid, at],
                )  # fmt: skip
                spent += budget.used
                judged[run] = step
    return verdicts


def _rewards(rng: np.random.Generator, difficulty: Any, level: float, luck: Luck) -> Any:
    if luck == "binary":  # right or wrong, one in ten right
        return (rng.random(difficulty.size) < np.clip(0.1 * np.exp(difficulty) + level, 0, 1)).astype(float)
    noise = rng.normal(size=difficulty.size) if luck == "normal" else rng.exponential(size=difficulty.size) - 1
    return level + difficulty + noise * np.sqrt(0.5)


def _contender(run: int, means: Mapping[str, Mapping[int, float]]) -> Contender:
    return Contender(str(run), f"run {run}", dict(means[str(run)]))


def extended_sweeps_with_a_stop(rule: EarlyStop, count: int, *, forgetful: bool = False) -> int:
    """The same of two equal runs that are trained and judged to their end, and extended by six more; `forgetful`: as if the
    larger sweep were another one, with an alpha of its own."""
    rng = np.random.default_rng(0)
    stops = 0
    for _ in range(count):
        if not forgetful:
            stops += any(simulate(rule, rng, [0.0] * RUNS, first=2))
            continue
        stops += any(simulate(rule, rng, [0.0] * 2)) or any(simulate(rule, rng, [0.0] * RUNS))
    return stops


def sweeps_with_a_stop(rule: EarlyStop, count: int, *, spread: float = 0.0, seed: int = 0, **options: Any) -> int:
    """How many of `count` simulated sweeps of equal runs stop at least one; seeds move the runs' means by `spread`."""
    rng = np.random.default_rng(seed)
    return sum(any(simulate(rule, rng, spread * rng.normal(size=RUNS), **options)) for _ in range(count))


def main() -> None:
    """Print every figure of the decision."""
    for margin, spread in ((0, 0), (0.25, 0), (0, 0.1), (0.25, 0.1), (0, 0.2), (0.25, 0.2), (0.25, 0.3)):
        rule = EarlyStop(margin=margin)
        print(
            f"paired, margin {margin}, seeds {spread}: {sweeps_with_a_stop(rule, 2000, spread=spread)} of 2000 sweeps"
        )
    for luck in ("skewed", "binary"):
        print(f"paired, {luck}: {sweeps_with_a_stop(EarlyStop(margin=0), 2000, luck=luck)} of 2000 sweeps")
    for forgetful in (False, True):
        rule = EarlyStop(margin=0)
        stops = extended_sweeps_with_a_stop(rule, 6000, forgetful=forgetful)
        print(
            f"extended from 2 to 8 runs{', as if nothing had been tested' if forgetful else ''}: {stops} of 6000 sweeps"
        )
    print(f"median: {sweeps_with_a_stop(EarlyStop(rule='median'), 2000)} of 2000 sweeps")
    for behind in (0.5, 0.75, 1.0, 1.5):
        rng = np.random.default_rng(0)
        for prompts in (64, 256):
            found = [simulate(EarlyStop(), rng, [-behind, *[0.0] * 7], prompts=prompts)[0] for _ in range(500)]
            at = [one.step for one in found if one]
            print(f"behind by {behind}, {prompts} prompts: {len(at)} of 500, at step {np.median(at) if at else None}")


if __name__ == "__main__":
    main()
