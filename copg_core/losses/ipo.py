"""Identity preference optimisation (Azar et al., 2023, Eq. 17), on sums as in the CoPG paper."""

from __future__ import annotations

from torch import Tensor

from copg_core.losses.shapes import require_positive, require_vectors


def ipo_loss(log_ratio_chosen: Tensor, log_ratio_rejected: Tensor, beta: float) -> Tensor:
    r"""Loss of each pair, to be minimised:  (h_chosen - h_rejected - 1/(2 beta))^2.

    h = ln pi(y|x) - ln pi_ref(y|x), SUMMED over the completion's tokens. Other libraries (TRL) divide each h by its
    completion's length, which `normalisation = "mean"` of the configuration does before it calls this function; the same
    beta then means something else, and results may not be compared. Property 3: the
    gradient is 2/beta times CoPG's with dR = 1/2. At pi = pi_ref the loss is 1/(4 beta^2).

    Args:
        log_ratio_chosen, log_ratio_rejected: (B,) nats.
        beta: 1 per nat, > 0; the margin aimed at is 1/(2 beta) nats.

    Returns: (B,) nats squared.
    Raises: ValueError for shapes other than (B,) or beta <= 0, TypeError for dtypes that differ.

    By hand: dh = 3, beta = 0.1 aims at 5, and (3 - 5)^2 = 4.

    >>> import torch
    >>> ipo_loss(torch.tensor([2.0]), torch.tensor([-1.0]), beta=0.1)
    tensor([4.])
    """
    require_vectors(log_ratio_chosen=log_ratio_chosen, log_ratio_rejected=log_ratio_rejected)
    require_positive(beta)
    return (log_ratio_chosen - log_ratio_rejected - 1 / (2 * beta)).square()
