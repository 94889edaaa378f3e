"""Contrastive policy gradient (Flet-Berliac et al., 2024, Eq. 5)."""

from __future__ import annotations

from torch import Tensor

from copg_core.losses.shapes import require_positive, require_vectors


def copg_loss(log_ratio_1: Tensor, log_ratio_2: Tensor, reward_1: Tensor, reward_2: Tensor, beta: float) -> Tensor:
    r"""Loss of each pair, to be minimised:  -(dR - (beta/2) dh) dh.

    With h = ln pi(y|x) - ln pi_ref(y|x), summed over the completion's tokens, dh = h_1 - h_2 and dR = R_1 - R_2.
    The weight is NOT detached: the gradient is -(dR - beta dh) grad dh (Eq. 9). Completing the square,
    loss = [(dR - beta dh)^2 - dR^2] / (2 beta), so the minimum -dR^2 / (2 beta) is where dh = dR / beta. Off-policy
    data are fine: with full support the optimum is pi_ref exp(R / beta), whatever the pairs were drawn from (Theorem 1).

    Args:
        log_ratio_1, log_ratio_2: (B,) nats.
        reward_1, reward_2: (B,) reward units.
        beta: reward units per nat, > 0.

    Returns: (B,) reward units times nats.
    Raises: ValueError for shapes other than (B,) or beta <= 0, TypeError for dtypes that differ.

    By hand: h = (0.5, -0.5), R = (2, 1), beta = 1 give dh = 1, dR = 1, so -(1 - 1/2) * 1 = -0.5.

    >>> import torch
    >>> copg_loss(torch.tensor([0.5]), torch.tensor([-0.5]), torch.tensor([2.0]), torch.tensor([1.0]), beta=1.0)
    tensor([-0.5000])
    """
    require_vectors(log_ratio_1=log_ratio_1, log_ratio_2=log_ratio_2, reward_1=reward_1, reward_2=reward_2)
    require_positive(beta)
    log_ratio_contrast = log_ratio_1 - log_ratio_2
    reward_contrast = reward_1 - reward_2
    return -(reward_contrast - 0.5 * beta * log_ratio_contrast) * log_ratio_contrast
