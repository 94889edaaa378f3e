"""Regularised policy gradient on given samples: what CoPG is compared with in the paper's Section 5."""

from __future__ import annotations

from torch import Tensor

from copg_core.losses.shapes import require_positive, require_vectors


def policy_gradient_loss(
    log_ratio_1: Tensor, log_ratio_2: Tensor, reward_1: Tensor, reward_2: Tensor, baseline: Tensor, beta: float
) -> Tensor:
    r"""Loss of each pair, to be minimised:  -sum over y of sg[R(y) - beta h(y) - b] h(y).

    sg[.] is detached, and h = ln pi - ln pi_ref stands for ln pi, from which it differs by a constant. The gradient
    estimates 2 grad J for J = E[R] - beta KL only where both completions come from pi itself: on other samples it is
    biased, and a zero baseline raises the probability of whatever was sampled.

    Args:
        log_ratio_1, log_ratio_2: (B,) nats.
        reward_1, reward_2: (B,) reward units.
        baseline: (B,) reward units: zeros, or the value E_{y ~ pi}[R(x, y)] of each pair's prompt.
        beta: reward units per nat, > 0.

    Returns: (B,) reward units times nats.
    Raises: ValueError for shapes other than (B,) or beta <= 0, TypeError for dtypes that differ.

    By hand: h = (0.5, -0.5), R = (2, 1), b = 1, beta = 1 give weights (0.5, 0.5), so -(0.25 - 0.25) = 0.

    >>> import torch
    >>> one = torch.ones(1)
    >>> policy_gradient_loss(0.5 * one, -0.5 * one, 2 * one, one, baseline=one, beta=1.0)
    tensor([-0.])
    """
    require_vectors(
        log_ratio_1=log_ratio_1, log_ratio_2=log_ratio_2, reward_1=reward_1, reward_2=reward_2, baseline=baseline
    )
    require_positive(beta)
    weight_1 = (reward_1 - beta * log_ratio_1 - baseline).detach()
    weight_2 = (reward_2 - beta * log_ratio_2 - baseline).detach()
    return -(weight_1 * log_ratio_1 + weight_2 * log_ratio_2)
