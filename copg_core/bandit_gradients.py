"""Gradients of the bandit's losses with respect to the logits, for all steps prepared in advance.

Each class below holds the algorithms of one kind. It is made with everything that does not depend on the policy, and
called with a step's number it writes that step's gradients, (algorithms, seeds, arms), into its part of a shared buffer.
With h = ln pi - ln pi_ref and pairs (i, j) averaged over the batch:

    CoPG   -(dR - beta dh)(e_i - e_j)                     = L (beta h - R)
    IPO    2 (dh - 1/(2 beta))(e_i - e_j), i preferred    = 2 L h - (row sums - column sums) / beta
    DPO    -beta sigmoid(-beta dh)(e_i - e_j), i preferred
    PG     -sum over both arms of [R - beta h - b](e_y - pi)
    RLOO   CoPG's on pairs drawn from pi itself (Property 2)

L is the pairs' Laplacian. In dh the normaliser of ln pi cancels, so CoPG and IPO are linear in the logits.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from copg_core.bandit import Array, BanditAlgorithm, BanditConfig

Gradient = Callable[[int], None]
LARGEST_EXPONENT = 700.0


def laplacian(shares: Array) -> Array:
    """L with L h = sum over pairs of (h_i - h_j)(e_i - e_j), for shares of pairs (..., arms, arms)."""
    symmetric = shares + shares.swapaxes(-1, -2)
    return np.asarray(symmetric.sum(-1)[..., :, None] * np.eye(shares.shape[-1]) - symmetric)


def difference(shares: Array) -> Array:
    """Row sums minus column sums: how much more often an arm is first (preferred) than second, (..., arms)."""
    return np.asarray(shares.sum(-1) - shares.sum(-2))


class Linear:
    """CoPG and IPO: L (a * logits) - constant."""

    def __init__(
        self,
        config: BanditConfig,
        names: list[BanditAlgorithm],
        logits: Array,
        gradient: Array,
        shares: Array,
        preferred: Array,
    ) -> None:
        copg = np.array([name == "copg" for name in names])[:, None, None]
        self._logits, self._gradient = logits, gradient[..., None]
        self._factor = np.where(copg, config.beta, 2.0) * np.ones_like(logits)
        # Subtracted before the product, and rewards as distances: Adam would make steps of what should be zero and is only small.
        rewards = np.array(config.rewards)
        self._offset = self._factor * config.start() + np.where(copg, rewards - rewards[0], 0.0)
        self._laplacian = laplacian(shares)
        self._inside = np.empty_like(logits)[..., None]
        self._flat = self._inside[..., 0]
        ipo = slice(names.index("ipo"), names.index("ipo") + 1) if "ipo" in names else slice(0, 0)
        self._ipo = self._gradient[ipo]
        # One column for each of (steps, 1, seeds).
        self._constant = (difference(preferred)[:, None] / config.beta)[..., None]

    def __call__(self, step: int) -> None:
        np.multiply(self._logits, self._factor, self._flat)
        np.subtract(self._flat, self._offset, self._flat)
        np.matmul(self._laplacian[step], self._inside, self._gradient)
        np.subtract(self._ipo, self._constant[step], self._ipo)


class PolicyGradient:
    """PG without baseline and with the exact value E_pi[R]. ln pi = logits - ln sum exp; grad ln pi(y) = e_y - pi."""

    def __init__(
        self, config: BanditConfig, names: list[BanditAlgorithm], logits: Array, gradient: Array, shares: Array
    ) -> None:
        arms, rewards = logits.shape[-1], np.array(config.rewards) / config.beta
        self._logits, self._gradient = logits, gradient
        self._policy, self._weight = np.empty_like(logits), np.empty_like(logits)
        # exp(logits) @ matrix: Z in the first half of the columns, Z E_pi[R] / beta in the second.
        self._matrix = np.concatenate([np.ones((arms, arms)), np.tile(rewards[:, None], arms)], axis=1)
        self._sums = np.empty((*logits.shape[:-1], 2 * arms))
        self._z, baseline = self._sums[..., :arms], self._sums[..., arms:]
        self._total, self._ones = np.empty_like(logits), np.ones((arms, arms))
        # Products of two matrices take half as long as those of many small ones.
        self._rows = [
            part.reshape(-1, part.shape[-1]) for part in (self._policy, self._sums, self._weight, self._total)
        ]
        valued = slice(names.index("pg_value"), None) if "pg_value" in names else slice(0, 0)
        self._valued = (baseline[valued], self._z[valued], self._weight[valued])
        # A weight is beta times [(R + beta ln pi_ref - b) / beta - ln pi]; beta is in what the pairs count.
        self._reward = (rewards + config.start()) * np.ones_like(logits)
        self._seen = config.beta * (shares.sum(-1) + shares.sum(-2))  # (steps, seeds, arms)
        # Logits this far apart need the usual shift before exp; Adam moves each by about its rate a step.
        self._shift = len(shares) * config.learning_rate * 10 + np.abs(config.start()).max() > LARGEST_EXPONENT / 2

    def __call__(self, step: int) -> None:
        policy, weight, z, total = self._policy, self._weight, self._z, self._total
        policy_rows, sums_rows, weight_rows, total_rows = self._rows
        baseline, z_valued, weight_valued = self._valued
        logits = self._logits - self._logits.max(-1, keepdims=True) if self._shift else self._logits
        np.exp(logits, policy)
        policy_rows.dot(self._matrix, sums_rows)
        np.divide(policy, z, policy)
        np.divide(baseline, z_valued, baseline)
        np.log(z, z)
        np.subtract(z, logits, weight)  # -ln pi
        np.add(weight, self._reward, weight)
        np.subtract(weight_valued, baseline, weight_valued)
        np.multiply(weight, self._seen[step], weight)
        weight_rows.dot(self._ones, total_rows)
        np.multiply(policy, total, policy)
        np.subtract(policy, weight, self._gradient)


class Dpo:
    """DPO: the only one that is not linear in dh."""

    def __init__(self, config: BanditConfig, logits: Array, gradient: Array, preferred: Array) -> None:
        arms = logits.shape[-1]
        self._logits, self._start = logits, config.start()
        # h @ matrix holds beta (h_i - h_j) for all pairs (i, j); its transpose sums a pair's share up again.
        first, second = np.divmod(np.arange(arms * arms), arms)
        matrix = config.beta * (np.eye(arms)[:, first] - np.eye(arms)[:, second])
        self._apart, self._together = matrix, np.ascontiguousarray(-matrix.T)
        self._h, self._pairs = np.empty_like(logits), np.empty((*logits.shape[:-1], arms * arms))
        self._rows = [part.reshape(-1, part.shape[-1]) for part in (self._h, self._pairs, gradient)]
        self._preferred = preferred.reshape(*preferred.shape[:-2], arms * arms)
        self._largest, self._one = np.array(LARGEST_EXPONENT), np.array(1.0)

    def __call__(self, step: int) -> None:
        pairs = self._pairs
        h_rows, pair_rows, gradient_rows = self._rows
        np.subtract(self._logits, self._start, self._h)
        h_rows.dot(self._apart, pair_rows)
        np.minimum(pairs, self._largest, out=pairs)
        np.exp(pairs, pairs)
        np.add(pairs, self._one, pairs)
        np.divide(self._preferred[step], pairs, pairs)
        pair_rows.dot(self._together, gradient_rows)


class Rloo:
    """RLOO with k = 2: a fresh batch of pairs from the policy at every step, each seed with its own generator."""

    def __init__(self, config: BanditConfig, logits: Array, gradient: Array) -> None:
        _, seeds, arms = logits.shape
        self._logits, self._gradient = logits[0], gradient[0][..., None]
        self._policy, self._one = np.empty((seeds, arms)), np.empty((seeds, 1))
        self._first, self._second = self._policy[:, :, None], self._policy[:, None, :]
        self._both, self._all = np.empty((seeds, arms, arms)), np.empty((seeds, 1, 1))
        self._size = min(config.batch_size, config.pairs)
        draws = [np.random.default_rng([seed, 1]).multinomial for seed in range(config.seeds)]
        # What a seed draws, from which pairs, and where it is counted.
        self._drawn = np.empty((seeds, arms * arms))
        self._draws = list(zip(draws, self._both.reshape(seeds, -1), self._drawn, strict=True))
        self._shares = self._drawn.reshape(seeds, arms, arms)
        self._swapped, self._number = self._shares.swapaxes(-1, -2), np.array(float(self._size))
        self._laplacian, self._sums = np.empty_like(self._shares), np.empty((seeds, arms))
        self._diagonal = self._laplacian.reshape(seeds, -1)[:, :: arms + 1]
        self._rewards, self._start, self._beta = np.array(config.rewards), config.start(), np.array(config.beta)
        self._inside = np.empty((seeds, arms, 1))
        self._flat = self._inside[..., 0]

    def __call__(self, step: int) -> None:
        policy, both, matrix, flat = self._policy, self._both, self._laplacian, self._flat
        np.maximum.reduce(self._logits, -1, out=self._one, keepdims=True)
        np.subtract(self._logits, self._one, policy)
        np.exp(policy, policy)
        np.add.reduce(policy, -1, out=self._one, keepdims=True)
        np.divide(policy, self._one, policy)
        np.multiply(self._first, self._second, both)
        np.add.reduce(both, (-1, -2), out=self._all, keepdims=True)
        np.divide(both, self._all, both)
        for multinomial, pairs, drawn in self._draws:
            drawn[:] = multinomial(self._size, pairs)
        np.divide(self._shares, self._number, self._shares)
        # laplacian(shares), in place
        np.add(self._shares, self._swapped, matrix)
        np.add.reduce(matrix, -1, out=self._sums)
        np.negative(matrix, matrix)
        np.add(self._diagonal, self._sums, self._diagonal)
        np.subtract(self._logits, self._start, flat)
        np.multiply(flat, self._beta, flat)
        np.subtract(flat, self._rewards, flat)
        np.matmul(matrix, self._inside, self._gradient)


def gradients(
    config: BanditConfig,
    names: list[BanditAlgorithm],
    logits: Array,
    gradient: Array,
    shares: Array,
    preferred: Array,
) -> list[Gradient]:
    """What to call at each step to fill `gradient` from `logits`, both (algorithms, seeds, arms) in the order of `names`.

    shares, preferred: (steps, seeds, arms, arms), see copg_core.bandit.pair_counts.
    """

    def rows(*kind: str) -> slice:
        chosen = [number for number, name in enumerate(names) if name in kind]
        return slice(chosen[0], chosen[-1] + 1) if chosen else slice(0, 0)

    made: list[tuple[slice, Callable[[slice], Gradient]]] = [
        (
            rows("copg", "ipo"),
            lambda part: Linear(config, names[part], logits[part], gradient[part], shares, preferred),
        ),
        (
            rows("pg", "pg_value"),
            lambda part: PolicyGradient(config, names[part], logits[part], gradient[part], shares),
        ),
        (rows("dpo"), lambda part: Dpo(config, logits[part], gradient[part], preferred)),
        (rows("rloo"), lambda part: Rloo(config, logits[part], gradient[part])),
    ]
    return [make(part) for part, make in made if part.stop > part.start]
