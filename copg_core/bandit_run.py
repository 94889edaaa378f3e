"""Runs a bandit experiment: all algorithms and seeds advance together, one Adam step at a time."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from copg_core.bandit import ORDER, Array, BanditConfig, Curves, pair_counts
from copg_core.bandit_gradients import gradients

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
# Pairs are kept for the next experiments only where they are small: at most 16 times two arrays of half a million numbers.
KEPT, LARGEST_KEPT = 16, 500_000


def simulate(config: BanditConfig) -> Curves:
    """Train every algorithm of the configuration on every seed, all of them on the same pairs and batches."""
    names = [name for name in ORDER if name in config.algorithms]
    counts = [_pairs(config, seed) for seed in range(config.seeds)]
    shares, preferred = (np.stack(both, axis=1) for both in zip(*counts, strict=True))
    logits: Array = np.empty((config.steps + 1, len(names), config.seeds, len(config.rewards)))
    logits[0] = config.start()
    now = logits[0].copy()
    fresh = np.zeros((2, *now.shape))  # the gradient and its square, whose running averages Adam keeps
    parts = gradients(config, names, now, fresh[0], shares, preferred)
    decay = np.array([BETA1, BETA2]).reshape(2, 1, 1, 1) * np.ones_like(fresh)
    moments, change = np.zeros_like(fresh), np.empty_like(now)
    (gradient, square), (mean, spread) = fresh, moments
    # The moments are kept without their factors 1 - beta; these and the bias corrections make two numbers for each step,
    # with which Adam's change is rate * m / (sqrt(v) + epsilon).
    number = np.arange(1, config.steps + 1)
    root = np.sqrt((1 - BETA2**number) / (1 - BETA2))
    rates = list((config.learning_rate * root * (1 - BETA1) / (1 - BETA1**number))[:, None])
    epsilons = list(EPSILON * root[:, None])
    for step, (rate, epsilon) in enumerate(zip(rates, epsilons, strict=True)):
        for part in parts:
            part(step)
        np.multiply(gradient, gradient, square)
        np.multiply(moments, decay, moments)
        np.add(moments, fresh, moments)
        np.sqrt(spread, change)
        np.add(change, epsilon, change)
        np.divide(mean, change, change)
        np.multiply(change, rate, change)
        np.subtract(now, change, now)
        logits[step + 1] = now
    return Curves(names, logits)


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
