"""Runs a bandit experiment: all algorithms and seeds advance together, one Adam step at a time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from copg_core.bandit import ORDER, Array, BanditConfig, Curves, pair_counts
from copg_core.bandit_gradients import gradients, origins, scales

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
# Pairs are kept for the next experiments only where they are small: at most 16 times two arrays of half a million numbers.
KEPT, LARGEST_KEPT = 16, 500_000


def simulate(config: BanditConfig, record: Sequence[int] | None = None) -> Curves:
    """Train every algorithm of the configuration on every seed, all of them on the same pairs and batches.

    `record`: the steps whose logits are kept, rising; every one of them if not given.
    """
    names = [name for name in ORDER if name in config.algorithms]
    counts = [_pairs(config, seed) for seed in range(config.seeds)]
    shares, preferred = (np.stack(both, axis=1) for both in zip(*counts, strict=True))
    kept = np.zeros(config.steps + 1, dtype=bool)
    kept[slice(None) if record is None else list(record)] = True
    shape = (len(names), config.seeds, len(config.rewards))
    states: Array = np.empty((int(kept.sum()), *shape))
    origin, scale = origins(config, names), scales(config, names)
    now = (config.start() - origin) * np.ones(shape)
    # Two running averages, of the gradient and of its square, and those two: averaging is one product of matrices a step.
    known = np.zeros((4, *shape))
    gradient, square = known[2], known[3]
    parts = gradients(config, names, now, gradient, shares, preferred)
    rows, averages, fresh = known.reshape(4, -1), known[:2].reshape(2, -1), np.empty((2, now.size))
    mean, spread = fresh.reshape(2, *shape)
    change, epsilon = np.empty(shape), EPSILON / scale * np.ones(shape)
    at, row = kept.tolist(), 1 if kept[0] else 0
    multiply, add, sqrt, divide, subtract, copyto = np.multiply, np.add, np.sqrt, np.divide, np.subtract, np.copyto
    for step, average in enumerate(_averaging(config)):
        for part in parts:
            part(step)
        multiply(gradient, gradient, square)
        average.dot(rows, fresh)
        copyto(averages, fresh)
        sqrt(spread, change)
        add(change, epsilon, change)
        divide(mean, change, change)
        subtract(now, change, now)
        if at[step + 1]:
            states[row] = now
            row += 1
    logits = np.add(states, origin, states)
    if kept[0]:
        logits[0] = config.start()
    return Curves(names, logits)


def _averaging(config: BanditConfig) -> list[Array]:
    """For each step a (2, 4) matrix that averages [mean, spread, gradient, gradient^2] into [mean, spread], both as Adam uses them: with
    bias corrections, and the learning rate in the mean, so that a change is mean / (sqrt(spread) + epsilon)."""
    number = np.arange(1, config.steps + 1)
    of_mean = config.learning_rate * (1 - BETA1) / (1 - BETA1**number)
    of_spread = (1 - BETA2) / (1 - BETA2**number)
    found = np.zeros((config.steps, 2, 4))
    found[1:, 0, 0], found[:, 0, 2] = BETA1 * of_mean[1:] / of_mean[:-1], of_mean
    found[1:, 1, 1], found[:, 1, 3] = BETA2 * of_spread[1:] / of_spread[:-1], of_spread
    return list(found)


def _pairs(config: BanditConfig, seed: int) -> tuple[Array, Array]:
    """pair_counts, remembered: whoever moves beta, the reference or the learning rate meets the same pairs again."""
    if config.steps * len(config.rewards) ** 2 > LARGEST_KEPT:
        return pair_counts(config, seed)
    same = {"beta": 1.0, "learning_rate": 1.0, "reference": None, "seeds": 1, "algorithms": ["copg"]}
    return _remembered(config.model_copy(update=same).model_dump_json(), seed)


@lru_cache(maxsize=KEPT)
def _remembered(config: str, seed: int) -> tuple[Array, Array]:
    drawn, preferred = pair_counts(BanditConfig.model_validate_json(config), seed)
    drawn.setflags(write=False)
    preferred.setflags(write=False)
    return drawn, preferred
