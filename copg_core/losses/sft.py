"""Maximum likelihood of demonstrations."""

from __future__ import annotations

from torch import Tensor

from copg_core.losses.shapes import require_vectors


def sft_loss(log_prob: Tensor) -> Tensor:
    r"""Loss of each row, to be minimised:  -ln pi(y|x), completion tokens only (EOS included), summed.

    The training loop divides a batch's sum by its number of completion tokens, so that every token weighs the same
    and the curve reads in nats per token.

    Args:
        log_prob: (B,) nats, summed over the completion's tokens.

    Returns: (B,) nats.
    Raises: ValueError for shapes other than (B,), TypeError for integers.

    >>> import torch
    >>> sft_loss(torch.tensor([-3.5]))
    tensor([3.5000])
    """
    require_vectors(log_prob=log_prob)
    return -log_prob
