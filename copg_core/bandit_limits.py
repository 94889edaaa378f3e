"""Where each bandit curve would end after infinitely many steps on infinitely many pairs, and why.

The limit is the fixed point of the expected gradient that its flow reaches from pi_ref, found by pseudo-transient continuation
(implicit Euler steps that grow into Newton's method; Kelley & Keyes, SIAM J. Numer. Anal. 35, 1998).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from copg_core.bandit import Array, BanditAlgorithm, BanditConfig, log_softmax, optimal, regret
from copg_core.bandit_gradients import difference, gradients, laplacian

TOLERANCE = 1e-12
DIFFERENCE = 1e-6
MOST_ITERATIONS = 2000
LARGEST_CHANGE = 0.5
LARGEST_SHARE = 1 / 8
"""Of the distance between logits that a step may change: with a small beta an end is thousands of nats away."""
BIAS = 5e-5
"""Regret in reward units from which a limit is called biased: what four decimals show."""
_BIASED = {
    "pg": "Without a baseline it raises the probability of whatever the samplers offer, good or bad",
    "pg_value": "The baseline is right for samples of the policy itself, and wrong for those of other samplers",
    "ipo": "It regresses every preference to one margin, which only rewards of a matching form can fulfil",
}


@dataclass(frozen=True)
class Limit:
    """`policy` is None where the pairs do not determine the end or none was found; `why` says in one sentence where it lies."""

    policy: Array | None
    why: str


def limit(config: BanditConfig, algorithm: BanditAlgorithm) -> Limit:
    """The policy that an algorithm converges to; remembered, since seeds, learning rate and numbers of pairs do not change it."""
    reference = None if config.reference is None else tuple(config.reference)
    return _limit(tuple(config.rewards), tuple(config.mu1), tuple(config.mu2), reference, config.beta, algorithm)


@lru_cache(maxsize=512)
def _limit(
    rewards: tuple[float, ...],
    mu1: tuple[float, ...],
    mu2: tuple[float, ...],
    reference: tuple[float, ...] | None,
    beta: float,
    algorithm: BanditAlgorithm,
) -> Limit:
    # No other field is known here, so that nothing which is not in the key can enter the answer.
    start = None if reference is None else list(reference)
    config = BanditConfig(rewards=list(rewards), mu1=list(mu1), mu2=list(mu2), reference=start, beta=beta)
    found = _computed(config, algorithm)
    if found.policy is not None:
        found.policy.flags.writeable = False  # whoever asks next gets the same array
    return found


def _computed(config: BanditConfig, algorithm: BanditAlgorithm) -> Limit:
    if algorithm == "rloo":
        return Limit(optimal(config)[0], "On-policy pairs are CoPG's with both samplers equal to the policy: no bias.")
    groups = comparison_groups(config)
    if algorithm == "pg" or algorithm == "pg_value":
        end = _fixed_point(config, algorithm)
        return Limit(end, _outcome(config, end, _BIASED[algorithm]))
    if len(groups) > 1:
        apart = " | ".join(", ".join(str(arm + 1) for arm in group) for group in groups)
        why = f"No pair compares the arms {apart} with each other, so nothing says how much each group should get."
        determined = all(len(group) <= 2 for group in groups)
        return Limit(_linear(config, algorithm) if determined else None, why)
    end = _linear(config, algorithm)
    if algorithm == "ipo":
        return Limit(end, _outcome(config, end, _BIASED[algorithm]))
    why = {
        "copg": "Every pair asks for the same thing, Δh = ΔR/β, so any samplers that reach all arms lead to the optimum.",
        "dpo": "Preferences come from the rewards by Bradley-Terry, whose likelihood has its maximum at the optimum.",
    }[algorithm]
    return Limit(end, why)


def _outcome(config: BanditConfig, policy: Array | None, why: str) -> str:
    """What makes an algorithm biased, and whether that shows with these settings."""
    if policy is None:
        return f"{why}: its flow was followed, and no end was found."
    log_policy = np.log(np.maximum(policy, np.finfo(float).tiny))
    if float(regret(config, log_policy)) > BIAS:
        return f"{why}: biased."
    return f"{why}; with these settings it ends at the optimum all the same."


def comparison_groups(config: BanditConfig) -> list[list[int]]:
    """Arms that pairs connect, directly or over other arms; more than one group where full support is violated."""
    compared = np.outer(config.mu1, config.mu2) > 0
    reach = compared | compared.T | np.eye(len(compared), dtype=bool)
    for _ in range(len(reach)):
        reach = reach @ reach
    return [list(map(int, np.flatnonzero(row))) for row in np.unique(reach, axis=0)[::-1]]


def expected_shares(config: BanditConfig) -> tuple[Array, Array]:
    """Expectations of what pair_counts draws, (arms, arms): as drawn, and with the preferred arm first."""
    rewards = np.array(config.rewards)
    drawn = np.outer(config.mu1, config.mu2) / (sum(config.mu1) * sum(config.mu2))
    chance = 1 / (1 + np.exp(np.minimum(rewards[None, :] - rewards[:, None], 700.0)))
    return drawn, drawn * chance + (drawn * (1 - chance)).T


def _linear(config: BanditConfig, algorithm: BanditAlgorithm) -> Array:
    """CoPG, DPO and IPO: the logits that solve L h = L R / beta, or L h = difference / (2 beta), nearest to pi_ref.

    DPO's expected gradient is zero where sigmoid(beta dh) = sigmoid(dR) for every pair: CoPG's solution.
    """
    drawn, preferred = expected_shares(config)
    pairs = laplacian(drawn)
    target = difference(preferred) / 2 if algorithm == "ipo" else pairs @ np.array(config.rewards)
    # Within a group of compared arms the gradients sum to zero, so its mean logit stays: the least-norm solution.
    h = np.linalg.pinv(pairs, rcond=1e-12, hermitian=True) @ target / config.beta
    return np.exp(log_softmax(config.start() + h))


def _fixed_point(config: BanditConfig, algorithm: BanditAlgorithm) -> Array | None:
    """The zero of the expected policy gradient that its flow from pi_ref leads to; None where none was found.

    Steps that always grow may jump to and fro where the flow is nearly still without an end there: then they grow with the
    residual's decrease, and shrink with its increase (switched evolution relaxation). A step may change the logits by a share of
    how far apart they are, since a bound in nats alone never reaches far ends; the bound alone comes last, for ends that this passes by.
    """
    for share in (LARGEST_SHARE, 0.0):
        for evolving in (False, True):
            end = _followed(config, algorithm, share, evolving=evolving)
            if end is not None:
                return end
    return None


def _followed(config: BanditConfig, algorithm: BanditAlgorithm, share: float, *, evolving: bool) -> Array | None:
    arms = len(config.rewards)
    # The points for a central difference stand where the seeds stand: one call gives gradient and Jacobian.
    offsets = np.concatenate([np.zeros((1, arms)), DIFFERENCE * np.eye(arms), -DIFFERENCE * np.eye(arms)])
    points, slopes = np.empty((1, len(offsets), arms)), np.empty((1, len(offsets), arms))
    drawn, preferred = (np.tile(shares, (1, len(offsets), 1, 1)) for shares in expected_shares(config))
    (evaluate,) = gradients(config, [algorithm], points, slopes, drawn, preferred)
    logits, pace, scale = config.start(), 1e-2, max(1.0, float(np.abs(config.rewards).max()))
    before = np.inf
    for _ in range(MOST_ITERATIONS):
        points[0] = logits + offsets
        evaluate(0)
        slope = slopes[0, 0].copy()
        size = float(np.abs(slope).max())
        if size < TOLERANCE * scale:
            return np.asarray(np.exp(log_softmax(logits)))
        if evolving and size > before:
            pace = max(pace / 2 * (before / size), 1e-3)
        before = size
        jacobian = (slopes[0, 1 : arms + 1] - slopes[0, arms + 1 :]).T / (2 * DIFFERENCE)
        largest = max(LARGEST_CHANGE, share * float(np.ptp(logits)))
        while True:
            change = np.linalg.solve(np.eye(arms) / pace + jacobian, -slope)
            if np.abs(change).max() <= largest:
                break
            pace /= 2
        logits = logits + change
        logits = logits - logits.max()
        pace = min(pace * 2, 1e12)
    return None
