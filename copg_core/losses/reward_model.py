"""Bradley-Terry likelihood of a preference (Bradley and Terry, 1952), for reward models."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from copg_core.losses.shapes import require_vectors


def bradley_terry_loss(reward_chosen: Tensor, reward_rejected: Tensor) -> Tensor:
    r"""Loss of each pair, to be minimised:  -ln sigma(R(x, y+) - R(x, y-)).

    Args:
        reward_chosen, reward_rejected: (B,) reward units, in which a difference of 1 means odds of e.

    Returns: (B,) nats.
    Raises: ValueError for shapes other than (B,), TypeError for dtypes that differ.

    By hand: equal rewards give -ln(1/2) = 0.6931; a difference of 2 gives ln(1 + e^-2) = 0.1269.

    >>> import torch
    >>> bradley_terry_loss(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0]))
    tensor([0.6931, 0.1269])
    """
    require_vectors(reward_chosen=reward_chosen, reward_rejected=reward_rejected)
    return -logsigmoid(reward_chosen - reward_rejected)
