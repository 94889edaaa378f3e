"""Which loss an algorithm minimises and how the training loop has to call it: one line each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from copg_core.losses.copg import copg_loss
from copg_core.losses.dpo import dpo_loss
from copg_core.losses.ipo import ipo_loss
from copg_core.losses.policy_gradient import policy_gradient_loss
from copg_core.losses.reward_model import bradley_terry_loss
from copg_core.losses.sft import sft_loss


@dataclass(frozen=True)
class Loss:
    """A loss and the rows that it is made for.

    rows      "demonstrations": called with log-probabilities (B,).
              "comparisons": called with the rewards of the chosen and of the rejected completion, (B,) each.
              "pairs": called with log_ratio_1, log_ratio_2, reward_1, reward_2, (B,) each, and beta.
    ordered   the first completion of a pair must be the preferred one, so ties are dropped.
    valued    takes the value of each pair's prompt, (B,) reward units, as one more argument after beta.
    at_start  the value at pi = pi_ref as a function of beta, for the check before the first step.
    """

    function: Callable[..., Tensor]
    rows: Literal["demonstrations", "comparisons", "pairs"]
    ordered: bool = False
    valued: bool = False
    at_start: Callable[[float], float] | None = None


def _order_only(loss: Callable[[Tensor, Tensor, float], Tensor]) -> Callable[..., Tensor]:
    """Of a pair's rewards, DPO and IPO use the order alone, which is in the order of the pair already."""
    return lambda log_ratio_1, log_ratio_2, reward_1, reward_2, beta: loss(log_ratio_1, log_ratio_2, beta)


def _policy_gradient(
    log_ratio_1: Tensor, log_ratio_2: Tensor, reward_1: Tensor, reward_2: Tensor, beta: float, value: Tensor
) -> Tensor:
    return policy_gradient_loss(log_ratio_1, log_ratio_2, reward_1, reward_2, value, beta)


LOSSES: dict[str, Loss] = {
    "sft": Loss(sft_loss, "demonstrations"),
    "reward_model": Loss(bradley_terry_loss, "comparisons", ordered=True),
    "copg": Loss(copg_loss, "pairs", at_start=lambda beta: 0.0),
    "dpo": Loss(_order_only(dpo_loss), "pairs", ordered=True, at_start=lambda beta: math.log(2)),
    "ipo": Loss(_order_only(ipo_loss), "pairs", ordered=True, at_start=lambda beta: 1 / (4 * beta**2)),
    "policy_gradient": Loss(_policy_gradient, "pairs", valued=True, at_start=lambda beta: 0.0),
}
