"""Gradients of the bandit's losses with respect to the logits, for all steps prepared in advance.

Each function below prepares the algorithms of one kind: everything that does not depend on the policy. Called with a step's
number, what it returns writes that step's gradients, (algorithms, seeds, arms), into its part of a shared buffer. A step takes
some twenty calls of NumPy on small arrays, so even looking a name up counts: these are closures over local names.
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


def linear(
    config: BanditConfig, names: list[BanditAlgorithm], state: Array, gradient: Array, shares: Array, preferred: Array
) -> Gradient:
    """CoPG and IPO: L state - constant. With its origin and its scale out of it, CoPG's gradient is L (h - R / beta)."""
    matmul, subtract = np.matmul, np.subtract
    matrices = laplacian(shares)
    if (
        state.shape[1] == 1
    ):  # of one seed the rows of both algorithms meet one matrix, which is symmetric: a third of the time
        of_step, rows, row_gradients = list(matrices[:, 0]), state[:, 0], gradient[:, 0]

        def multiply(step: int) -> None:
            rows.dot(of_step[step], row_gradients)
    else:
        of_step, column, into = list(matrices), state[..., None], gradient[..., None]

        def multiply(step: int) -> None:
            matmul(of_step[step], column, into)

    if "ipo" not in names:
        return multiply
    ipo = gradient[names.index("ipo")]
    constants = list(difference(preferred) / (2 * config.beta))

    def write(step: int) -> None:
        multiply(step)
        subtract(ipo, constants[step], ipo)

    return write


def policy_gradient(
    config: BanditConfig, names: list[BanditAlgorithm], logits: Array, gradient: Array, shares: Array
) -> Gradient:
    """PG without baseline and with the exact value E_pi[R]. ln pi = logits - ln sum exp; grad ln pi(y) = e_y - pi."""
    exp, log, add, subtract, multiply, divide = np.exp, np.log, np.add, np.subtract, np.multiply, np.divide
    arms, rewards = logits.shape[-1], np.array(config.rewards) / config.beta
    policy, weight, total = np.empty_like(logits), np.empty_like(logits), np.empty_like(logits)
    # exp(logits) @ matrix: Z in the first half of the columns, Z E_pi[R] / beta in the second.
    matrix = np.concatenate([np.ones((arms, arms)), np.tile(rewards[:, None], arms)], axis=1)
    sums = np.empty((*logits.shape[:-1], 2 * arms))
    z, baseline, ones = sums[..., :arms], sums[..., arms:], np.ones((arms, arms))
    # Products of two matrices take half as long as those of many small ones.
    policy_rows, sums_rows, weight_rows, total_rows = (
        part.reshape(-1, part.shape[-1]) for part in (policy, sums, weight, total)
    )
    valued = slice(names.index("pg_value"), None) if "pg_value" in names else slice(0, 0)
    baseline, z_valued, weight_valued = baseline[valued], z[valued], weight[valued]
    # A weight is beta times [(R + beta ln pi_ref - b) / beta - ln pi]; beta is in what the pairs count.
    reward = (rewards + config.start()) * np.ones_like(logits)
    seen = list(config.beta * (shares.sum(-1) + shares.sum(-2)))  # a (seeds, arms) for each step
    # Logits this far apart need the usual shift before exp; Adam moves each by about its rate a step.
    far = len(shares) * config.learning_rate * 10 + np.abs(config.start()).max() > LARGEST_EXPONENT / 2

    def write(step: int) -> None:
        near = logits - logits.max(-1, keepdims=True) if far else logits
        exp(near, policy)
        policy_rows.dot(matrix, sums_rows)
        divide(policy, z, policy)
        divide(baseline, z_valued, baseline)
        log(z, z)
        subtract(z, near, weight)  # -ln pi
        add(weight, reward, weight)
        subtract(weight_valued, baseline, weight_valued)
        multiply(weight, seen[step], weight)
        weight_rows.dot(ones, total_rows)
        multiply(policy, total, policy)
        subtract(policy, weight, gradient)

    return write


def dpo(config: BanditConfig, h: Array, gradient: Array, preferred: Array) -> Gradient:
    """The only one that is not linear in dh."""
    exp, add, minimum, divide = np.exp, np.add, np.minimum, np.divide
    arms = h.shape[-1]
    # h @ apart holds beta (h_i - h_j) for all pairs (i, j); its transpose sums a pair's share up again.
    first, second = np.divmod(np.arange(arms * arms), arms)
    apart = config.beta * (np.eye(arms)[:, first] - np.eye(arms)[:, second])
    together = np.ascontiguousarray(-apart.T)
    pairs = np.empty((*h.shape[:-1], arms * arms))
    h_rows, pair_rows, gradient_rows = (part.reshape(-1, part.shape[-1]) for part in (h, pairs, gradient))
    shares = list(preferred.reshape(*preferred.shape[:-2], arms * arms))
    largest, one = np.array(LARGEST_EXPONENT), np.array(1.0)

    def write(step: int) -> None:
        h_rows.dot(apart, pair_rows)
        minimum(pairs, largest, out=pairs)
        exp(pairs, pairs)
        add(pairs, one, pairs)
        divide(shares[step], pairs, pairs)
        pair_rows.dot(together, gradient_rows)

    return write


def rloo(config: BanditConfig, logits: Array, gradient: Array) -> Gradient:
    """RLOO with k = 2: a fresh batch of pairs from the policy at every step, each seed with its own generator."""
    _, seeds, arms = logits.shape
    logits, into = logits[0], gradient[0][..., None]
    policy, one = np.empty((seeds, arms)), np.empty((seeds, 1))
    first, second = policy[:, :, None], policy[:, None, :]
    both, every = np.empty((seeds, arms, arms)), np.empty((seeds, 1, 1))
    size = min(config.batch_size, config.pairs)
    # What a seed draws, from which pairs, and where it is counted.
    counted = np.empty((seeds, arms * arms))
    multinomials = [np.random.default_rng([seed, 1]).multinomial for seed in range(config.seeds)]
    draws = list(zip(multinomials, both.reshape(seeds, -1), counted, strict=True))
    shares = counted.reshape(seeds, arms, arms)
    swapped, number = shares.swapaxes(-1, -2), np.array(float(size))
    matrix, sums = np.empty_like(shares), np.empty((seeds, arms))
    diagonal = matrix.reshape(seeds, -1)[:, :: arms + 1]
    rewards, start, beta = np.array(config.rewards), config.start(), np.array(config.beta)
    column = np.empty((seeds, arms, 1))
    flat = column[..., 0]

    def write(step: int) -> None:
        np.maximum.reduce(logits, -1, out=one, keepdims=True)
        np.subtract(logits, one, policy)
        np.exp(policy, policy)
        np.add.reduce(policy, -1, out=one, keepdims=True)
        np.divide(policy, one, policy)
        np.multiply(first, second, both)
        np.add.reduce(both, (-1, -2), out=every, keepdims=True)
        np.divide(both, every, both)
        for multinomial, pairs, drawn in draws:
            drawn[:] = multinomial(size, pairs)
        np.divide(shares, number, shares)
        # laplacian(shares), in place
        np.add(shares, swapped, matrix)
        np.add.reduce(matrix, -1, out=sums)
        np.negative(matrix, matrix)
        np.add(diagonal, sums, diagonal)
        np.subtract(logits, start, flat)
        np.multiply(flat, beta, flat)
        np.subtract(flat, rewards, flat)
        np.matmul(matrix, column, into)

    return write


def origins(config: BanditConfig, names: list[BanditAlgorithm]) -> Array:
    """What is subtracted from the logits once and for all, (algorithms, 1, arms): where each loss has its least, but for a constant.

    Subtracted before any product, and rewards as distances: Adam would make steps of what should be zero and is only small.
    """
    rewards, start = np.array(config.rewards), config.start()
    known = {"copg": start + (rewards - rewards[0]) / config.beta, "ipo": start, "dpo": start}
    return np.array([known.get(name, np.zeros_like(start)) for name in names])[:, None]


def scales(config: BanditConfig, names: list[BanditAlgorithm]) -> Array:
    """By what the losses' gradients are divided, (algorithms, 1, 1). Adam's steps do not feel it where its epsilon is divided too."""
    known = {"copg": config.beta, "ipo": 2.0}
    return np.array([known.get(name, 1.0) for name in names])[:, None, None]


def gradients(
    config: BanditConfig,
    names: list[BanditAlgorithm],
    state: Array,
    gradient: Array,
    shares: Array,
    preferred: Array,
) -> list[Gradient]:
    """What to call at each step to fill `gradient` from `state`, both (algorithms, seeds, arms) in the order of `names`: the state is
    the logits without `origins`, the gradient is divided by `scales`.

    shares, preferred: (steps, seeds, arms, arms), see copg_core.bandit.pair_counts.
    """

    def rows(*kind: str) -> slice:
        chosen = [number for number, name in enumerate(names) if name in kind]
        return slice(chosen[0], chosen[-1] + 1) if chosen else slice(0, 0)

    made: list[tuple[slice, Callable[[slice], Gradient]]] = [
        (rows("copg", "ipo"), lambda part: linear(config, names[part], state[part], gradient[part], shares, preferred)),
        (
            rows("pg", "pg_value"),
            lambda part: policy_gradient(config, names[part], state[part], gradient[part], shares),
        ),
        (rows("dpo"), lambda part: dpo(config, state[part], gradient[part], preferred)),
        (rows("rloo"), lambda part: rloo(config, state[part], gradient[part])),
    ]
    return [make(part) for part, make in made if part.stop > part.start]
