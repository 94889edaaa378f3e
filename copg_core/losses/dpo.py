"""Direct preference optimisation (Rafailov et al., 2023, Eq. 7)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from copg_core.losses.shapes import require_positive, require_vectors


def dpo_loss(log_ratio_chosen: Tensor, log_ratio_rejected: Tensor, beta: float) -> Tensor:
    r"""Loss of each pair, to be minimised:  -ln sigma(beta (h_chosen - h_rejected)).

    h = ln pi(y|x) - ln pi_ref(y|x), summed over the completion's tokens. At pi = pi_ref the loss is ln 2.

    Args:
        log_ratio_chosen, log_ratio_rejected: (B,) nats.
        beta: inverse scale of the implied reward, 1 per nat, > 0.

    Returns: (B,) nats.
    Raises: ValueError for shapes other than (B,) or beta <= 0, TypeError for dtypes that differ.

    By hand: beta dh = 0.1 * 10 = 1, and -ln sigma(1) = ln(1 + 1/e) = 0.3133.

    >>> import torch
    >>> dpo_loss(torch.tensor([4.0]), torch.tensor([-6.0]), beta=0.1)
    tensor([0.3133])
    """
    require_vectors(log_ratio_chosen=log_ratio_chosen, log_ratio_rejected=log_ratio_rejected)
    require_positive(beta)
    return -logsigmoid(beta * (log_ratio_chosen - log_ratio_rejected))
