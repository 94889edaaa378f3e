"""Losses as pure functions of tensors of shape (B,) (leave_one_out: (B, K)): one value for each pair out, to be minimised, no mean inside."""

from copg_core.losses.copg import copg_loss
from copg_core.losses.dpo import dpo_loss
from copg_core.losses.ipo import ipo_loss
from copg_core.losses.leave_one_out import leave_one_out_loss
from copg_core.losses.policy_gradient import policy_gradient_loss
from copg_core.losses.reward_model import bradley_terry_loss
from copg_core.losses.sft import sft_loss
from copg_core.losses.table import LOSSES, Loss

__all__ = [
    "LOSSES",
    "Loss",
    "bradley_terry_loss",
    "copg_loss",
    "dpo_loss",
    "ipo_loss",
    "leave_one_out_loss",
    "policy_gradient_loss",
    "sft_loss",
]
