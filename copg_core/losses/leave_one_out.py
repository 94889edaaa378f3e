"""REINFORCE leave-one-out over k completions (Ahmadian et al., 2024), regularised: another form of CoPG."""

from __future__ import annotations

from torch import Tensor

from copg_core.losses.shapes import require_groups, require_positive


def leave_one_out_loss(log_ratio: Tensor, reward: Tensor, beta: float) -> Tensor:
    r"""Loss of each group, to be minimised:  -(1/K) sum_i sg[R_b(y_i) - mean_{j != i} R_b(y_j)] h(y_i).

    With R_b(y) = R(y) - beta h(y), sg[.] detached, and h = ln pi - ln pi_ref standing for ln pi, from which it differs by a
    constant. With a_i = R_b(y_i), CoPG's mean over the K (K - 1) / 2 pairs has the gradient
    -2 / (K (K - 1)) sum_{i < j} (a_i - a_j) grad (h_i - h_j) = -(2 / K) sum_i (a_i - mean_{j != i} a_j) grad h_i,
    which is twice the gradient of this loss for every K; at K = 2 that is Property 2.

    Args:
        log_ratio: (B, K) nats, K >= 2.
        reward: (B, K) reward units.
        beta: reward units per nat, > 0.

    Returns: (B,) reward units times nats.
    Raises: ValueError for shapes other than (B, K) with K >= 2 or beta <= 0, TypeError for dtypes that differ.

    By hand: h = (1, 0, -1), R = (4, 1, 1), beta = 1 give R_b = (3, 1, 2), the others' means (1.5, 2.5, 2), weights
    (1.5, -1.5, 0), so -(1.5 * 1 - 1.5 * 0 + 0) / 3 = -0.5.

    >>> import torch
    >>> leave_one_out_loss(torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([[4.0, 1.0, 1.0]]), beta=1.0)
    tensor([-0.5000])
    """
    require_groups(log_ratio=log_ratio, reward=reward)
    require_positive(beta)
    regularised = (reward - beta * log_ratio).detach()
    count = regularised.shape[1]
    others = (regularised.sum(1, keepdim=True) - regularised) / (count - 1)
    return -((regularised - others) * log_ratio).mean(1)
