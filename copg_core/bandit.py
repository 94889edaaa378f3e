"""The paper's Section 5: a bandit with 2 to 10 arms, on which every algorithm is simulated exactly and at once. NumPy only.

A policy is the softmax of logits that start at ln pi_ref. Pairs are sampled once, y_1 from mu1 and y_2 from mu2, and gone
through for some epochs in shuffled batches with Adam. A batch enters a gradient only through how often each pair of arms
stands in it, so a step costs a few products of (arms, arms) matrices, for all algorithms and seeds together. The gradients
are those of copg_core.losses (tests/core/test_bandit.py compares them with autograd).

    J(pi) = E_pi[R] - beta KL(pi || pi_ref)      regret = J(pi*) - J(pi) >= 0      pi* = pi_ref exp(R / beta) / Z

Source: Flet-Berliac et al., *Contrastive Policy Gradient*, EMNLP 2024, Section 5 and Fig. 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from copg_core.sources import Frozen, unit

Array = np.ndarray[Any, np.dtype[np.float64]]
BanditAlgorithm = Literal["copg", "pg", "pg_value", "ipo", "dpo", "rloo"]
# In this order the algorithms of one kind are neighbours: linear gradients, policy gradients, the rest.
ORDER: tuple[BanditAlgorithm, ...] = ("copg", "ipo", "pg", "pg_value", "dpo", "rloo")
ARMS = (2, 10)
# An experiment within these takes a few seconds and some hundred megabytes at most.
MOST_STEPS = 100_000
MOST_CELLS = 10_000_000
MOST_DRAWS = 100_000_000
MOST_POLICY_DRAWS = 500_000
"""Batches that RLOO draws from the policy: one for each step and seed, as long as hundreds of pairs that were sampled before."""
DRAWS_AT_ONCE = 4_000_000
MOST_ORDERED, LARGEST_KEPT = 1 << 14, 2_000_000  # pairs and draws of which the order is remembered: 4 MB each
Distribution = Annotated[list[float], Field(min_length=ARMS[0], max_length=ARMS[1])]


class BanditConfig(Frozen):
    """One bandit experiment; the defaults are the paper's Fig. 1."""

    model_config = ConfigDict(title="Bandit")
    rewards: Distribution = Field(
        [2.5, 2.0, 1.0], title="Rewards", description="R of each arm.", json_schema_extra=unit("reward units")
    )
    mu1: Distribution = Field(
        [0.1, 0.2, 0.7], title="Sampler 1", description="Where the first arm of a pair is drawn from."
    )
    mu2: Distribution = Field(
        [0.05, 0.05, 0.9], title="Sampler 2", description="Where the second arm of a pair is drawn from."
    )
    reference: Distribution | None = Field(
        None, title="Reference", description="Where the policy starts and KL is measured to; uniform if not given."
    )
    beta: float = Field(
        0.5, ge=1e-6, le=1e3, title="Beta", description="Weight of KL.", json_schema_extra=unit("reward units per nat")
    )
    learning_rate: float = Field(1e-3, gt=0, le=1, title="Learning rate", description="Of Adam.")
    batch_size: int = Field(
        512, ge=1, le=100_000, title="Batch", description="Pairs in a step.", json_schema_extra=unit("pairs")
    )
    pairs: int = Field(
        10_000, ge=1, le=1_000_000, title="Pairs", description="Sampled once.", json_schema_extra=unit("pairs")
    )
    epochs: int = Field(
        100, ge=1, le=10_000, title="Epochs", description="Passes over the pairs.", json_schema_extra=unit("passes")
    )
    seeds: int = Field(1, ge=1, le=100, title="Seeds", description="Independent repetitions; the band is over them.")
    algorithms: list[BanditAlgorithm] = Field(
        ["copg", "pg", "pg_value", "ipo"], min_length=1, title="Algorithms", description="Those of the paper's figure."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        arms = len(self.rewards)
        for name in ("mu1", "mu2", "reference"):
            values = getattr(self, name)
            if values is None:
                continue
            if len(values) != arms:
                raise ValueError(f"{name} has {len(values)} entries for {arms} arms")
            if min(values) < 0 or abs(sum(values) - 1) > 1e-6:
                raise ValueError(f"{name} must be probabilities that sum to 1, and sums to {sum(values):.6g}")
        if self.reference is not None and min(self.reference) < 1e-12:
            raise ValueError("reference must give every arm a positive probability: KL to it would be infinite")
        if max(map(abs, self.rewards)) > 1e3:
            raise ValueError("rewards must lie between -1000 and 1000")
        if len(set(self.algorithms)) < len(self.algorithms):
            raise ValueError("algorithms names one of them twice")
        if self.steps > MOST_STEPS or self.steps * self.seeds * arms**2 > MOST_CELLS:
            raise ValueError(
                f"{self.steps} steps for {self.seeds} seeds and {arms} arms are too many (at most {MOST_STEPS} steps, and "
                f"steps x seeds x arms^2 at most {MOST_CELLS}): use fewer epochs or seeds, or a larger batch"
            )
        if self.pairs * self.epochs * self.seeds > MOST_DRAWS:
            raise ValueError(
                f"{self.pairs} pairs, {self.epochs} times, for {self.seeds} seeds are more than {MOST_DRAWS} draws: "
                "use fewer of one of them"
            )
        if "rloo" in self.algorithms and self.steps * self.seeds > MOST_POLICY_DRAWS:
            raise ValueError(
                f"{self.steps} steps for {self.seeds} seeds are too many for rloo, which draws its pairs anew in each (at most "
                f"{MOST_POLICY_DRAWS}): use fewer epochs or seeds, a larger batch, or leave rloo out"
            )
        return self

    @property
    def batches_per_epoch(self) -> int:
        """Whole batches of one pass; the last, partial one is dropped."""
        return max(1, self.pairs // self.batch_size)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole experiment."""
        return self.epochs * self.batches_per_epoch

    def start(self) -> Array:
        """ln pi_ref, (arms,)."""
        arms = len(self.rewards)
        reference = np.full(arms, 1 / arms) if self.reference is None else np.array(self.reference)
        return np.asarray(np.log(reference / reference.sum()))


@dataclass(frozen=True)
class Curves:
    """Logits of every algorithm before each recorded step, all of them and after the last if not chosen: (recorded, algorithms, seeds, arms)."""

    algorithms: list[BanditAlgorithm]
    logits: Array


def log_softmax(logits: Array) -> Array:
    """ln of the softmax over the last axis."""
    shifted = logits - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def optimal(config: BanditConfig) -> tuple[Array, float]:
    """pi* = pi_ref exp(R / beta) / Z, (arms,), and J(pi*) = beta ln Z."""
    exponent = config.start() + np.array(config.rewards) / config.beta
    top = exponent.max()
    log_z = float(top + np.log(np.exp(exponent - top).sum()))
    return np.exp(exponent - log_z), config.beta * log_z


def regret(config: BanditConfig, logits: Array) -> Array:
    """J(pi*) - J(pi) = beta KL(pi || pi*) for logits (..., arms): exact, and never below zero."""
    log_policy = log_softmax(logits)
    log_optimal = log_softmax(config.start() + np.array(config.rewards) / config.beta)
    return np.asarray(np.maximum(config.beta * (np.exp(log_policy) * (log_policy - log_optimal)).sum(-1), 0.0))


# ---------------------------------------------------------------- data


def pair_counts(config: BanditConfig, seed: int) -> tuple[Array, Array]:
    """For each step, shares of its pairs: (steps, arms, arms) as drawn, and with the preferred arm first.

    A preference is sampled once for each pair, P(y > y') = sigmoid(R(y) - R(y')).
    """
    rng = np.random.Generator(np.random.SFC64(seed))
    arms, rewards = len(config.rewards), np.array(config.rewards)
    mu1, mu2 = (np.array(mu) / sum(mu) for mu in (config.mu1, config.mu2))
    drawn = rng.multinomial(config.pairs, np.outer(mu1, mu2).ravel())
    chance = 1 / (1 + np.exp(np.minimum(rewards[None, :] - rewards[:, None], 700.0)))
    first_preferred = rng.binomial(drawn, chance.ravel())
    # A pair is one of 2 arms^2 kinds: (i, j) with i preferred, then (i, j) with j preferred.
    counts = np.concatenate([first_preferred, drawn - first_preferred])
    kinds = np.repeat(np.arange(len(counts), dtype=np.uint8), counts)
    keep = config.pairs <= MOST_ORDERED and config.epochs * config.pairs <= LARGEST_KEPT
    size = min(config.batch_size, config.pairs)
    used, at_once = config.batches_per_epoch * size, max(1, DRAWS_AT_ONCE // config.pairs)
    batches = np.empty((config.steps, len(counts)))
    for epoch in range(0, config.epochs, at_once):
        epochs = min(at_once, config.epochs - epoch)
        whole = (
            kinds[_orders(seed, config.pairs, epochs)[:, :used]] if keep else _shuffles(rng, kinds, epochs)[:, :used]
        )
        shuffled = whole.reshape(-1, size)
        numbered = shuffled + (np.arange(len(shuffled), dtype=np.intp) * len(counts))[:, None]
        start = epoch * config.batches_per_epoch
        batches[start : start + len(shuffled)] = np.bincount(
            numbered.ravel(), minlength=len(shuffled) * len(counts)
        ).reshape(len(shuffled), -1)
    batches = batches.reshape(config.steps, 2, arms, arms) / size
    return batches[:, 0] + batches[:, 1], batches[:, 0] + batches[:, 1].swapaxes(1, 2)


@lru_cache(maxsize=16)
def _orders(seed: int, pairs: int, epochs: int) -> np.ndarray[Any, Any]:
    """(epochs, pairs): independent permutations. They do not depend on what is drawn, so that whoever moves a reward or a share of a
    sampler meets the same ones. At least 18 random bits above those of a place are sorted; of equal ones the place decides."""
    generator = np.random.SFC64(np.random.SeedSequence([seed, 1]))
    places = np.uint32((1 << (pairs - 1).bit_length()) - 1)
    words = generator.random_raw((epochs * pairs + 1) // 2).view(np.uint32)[: epochs * pairs]
    keys = words.reshape(epochs, pairs) & ~places
    keys |= np.arange(pairs, dtype=np.uint32)
    keys.sort(axis=1)
    keys &= places
    return keys.astype(np.uint16)


def _shuffles(rng: np.random.Generator, kinds: np.ndarray[Any, Any], epochs: int) -> np.ndarray[Any, Any]:
    """(epochs, pairs): the kinds in independent orders. Sorting 24 random bits above the 8 of a kind is several times faster than
    swapping; among equal random bits the order is by kind, which matters only across the border of a batch."""
    words = rng.bit_generator.random_raw((epochs * len(kinds) + 1) // 2).view(np.uint32)[: epochs * len(kinds)]
    keys = words.reshape(epochs, -1) & np.uint32(0xFFFFFF00)
    keys |= kinds.astype(np.uint32)
    keys.sort(axis=1)
    keys &= np.uint32(0xFF)
    return keys
