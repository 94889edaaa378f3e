"""What each algorithm makes of a forward pass: losses and metrics of a batch of rows.

The loop in train.py is one for all; what differs is which rows there are (`Table`), what the module gives for them
(summed log-probabilities, or rewards), and how the loss of losses/ is fed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from copg_core.config import CopgConfig, IPOConfig, PreferenceConfig, RewardModelConfig, RunConfig, SFTConfig
from copg_core.layout import TokenRow
from copg_core.losses import LOSSES

Array = np.ndarray[Any, Any]
# Summed log-probabilities in float32 are known to about 1e-5 nats: a smaller contrast orders nothing.
ROUNDING = 1e-4


@dataclass(frozen=True)
class Table:
    """Rows of token ids with what is known about each before training.

    reference  (n, 2) ln pi_ref of both completions, nats, summed; empty where the algorithm has no reference
    rewards    (n, 2) reward units; empty likewise
    """

    rows: list[TokenRow]
    reference: Array = field(default_factory=lambda: np.empty((0, 2)))
    rewards: Array = field(default_factory=lambda: np.empty((0, 2)))

    def __len__(self) -> int:
        return len(self.rows)

    def first(self, count: int) -> Table:
        """The first `count` rows."""
        return Table(self.rows[:count], self.reference[:count], self.rewards[:count])

    def completion_tokens(self, indices: Sequence[int]) -> int:
        """Tokens that the loss of these rows runs over."""
        return sum(len(completion) for i in indices for completion in self.rows[i].completions)


class Objective(Protocol):
    """Losses and metrics of one algorithm. `output` is what the module gives, (b, K), for the rows `indices`."""

    rate_name: str

    def losses(self, output: Tensor, table: Table, indices: Sequence[int]) -> Tensor:
        """Loss of each row, (b,); the batch's loss is their sum over `normaliser`."""
        ...

    def normaliser(self, table: Table, indices: Sequence[int]) -> float:
        """What the sum of a whole batch's losses is divided by."""
        ...

    def metrics(self, output: Array, table: Table, indices: Sequence[int]) -> dict[str, float]:
        """Scalars of a whole batch by the names of docs/metrics.md; `loss` is added by the loop."""
        ...


class Imitation:
    """SFT. The batch's loss is per completion token, so that the curve reads in nats per token."""

    rate_name = "rows_per_second"

    def losses(self, output: Tensor, table: Table, indices: Sequence[int]) -> Tensor:
        return LOSSES["sft"].function(output[:, 0])

    def normaliser(self, table: Table, indices: Sequence[int]) -> float:
        return table.completion_tokens(indices)

    def metrics(self, output: Array, table: Table, indices: Sequence[int]) -> dict[str, float]:
        return {"sequence_log_prob": float(output[:, 0].mean())}


class Preference:
    """Reward model: the chosen completion is the first of each row."""

    rate_name = "pairs_per_second"

    def losses(self, output: Tensor, table: Table, indices: Sequence[int]) -> Tensor:
        return LOSSES["reward_model"].function(output[:, 0], output[:, 1])

    def normaliser(self, table: Table, indices: Sequence[int]) -> float:
        return len(indices)

    def metrics(self, output: Array, table: Table, indices: Sequence[int]) -> dict[str, float]:
        margin = output[:, 0] - output[:, 1]
        return {
            "accuracy": float((margin > 0).mean()),  # a tie is not right
            "margin": float(margin.mean()),
            "reward_chosen_mean": float(output[:, 0].mean()),
            "reward_rejected_mean": float(output[:, 1].mean()),
        }


class Contrast:
    """CoPG, DPO and IPO: log-ratios to the reference and rewards of both completions."""

    rate_name = "pairs_per_second"

    def __init__(self, config: PreferenceConfig) -> None:
        self._algorithm, self._beta = config.algorithm, config.beta
        self._regresses_rewards = isinstance(config, CopgConfig)
        self._per_token = isinstance(config, IPOConfig) and config.normalisation == "mean"

    def losses(self, output: Tensor, table: Table, indices: Sequence[int]) -> Tensor:
        log_ratio = output - torch.as_tensor(table.reference[indices]).to(output)
        if self._per_token:
            log_ratio = log_ratio / torch.tensor([[len(y) for y in table.rows[i].completions] for i in indices]).to(
                output
            )
        reward = torch.as_tensor(table.rewards[indices]).to(output)
        function = LOSSES[self._algorithm].function
        return function(log_ratio[:, 0], log_ratio[:, 1], reward[:, 0], reward[:, 1], self._beta)

    def normaliser(self, table: Table, indices: Sequence[int]) -> float:
        return len(indices)

    def metrics(self, output: Array, table: Table, indices: Sequence[int]) -> dict[str, float]:
        log_ratio = output - table.reference[indices]
        reward = table.rewards[indices]
        log_ratio_contrast = log_ratio[:, 0] - log_ratio[:, 1]
        reward_contrast = reward[:, 0] - reward[:, 1]
        # Preferred completion first; of a tie (CoPG keeps them) the first one is called preferred, with no margin.
        preferred = np.sign(reward_contrast)
        swapped = (preferred < 0).astype(np.int64)
        pairs = np.arange(len(log_ratio))
        values = {
            "reward_contrast": float(np.abs(reward_contrast).mean()),
            "log_ratio_contrast": float(np.abs(log_ratio_contrast).mean()),
            "log_ratio": float(log_ratio.mean()),
            "log_ratio_preferred": float(log_ratio[pairs, swapped].mean()),
            "log_ratio_other": float(log_ratio[pairs, 1 - swapped].mean()),
            "margin": float((log_ratio_contrast * preferred).mean()),
            "accuracy": float((log_ratio_contrast * preferred > ROUNDING).mean()),
        }
        if self._regresses_rewards:
            # Completing the square (losses/copg.py): the share of the reward contrast that the policy explains.
            total = float((reward_contrast**2).mean())
            left = float(((reward_contrast - self._beta * log_ratio_contrast) ** 2).mean())
            values["explained_contrast"] = 1 - left / total if total > 0 else 0.0
        return values


def objective_of(config: RunConfig) -> Objective:
    """The objective of a configuration's algorithm."""
    match config:
        case SFTConfig():
            return Imitation()
        case RewardModelConfig():
            return Preference()
        case _:
            return Contrast(config)
