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
from copg_core.losses import LOSSES, leave_one_out_loss

Array = np.ndarray[Any, Any]
# Summed log-probabilities in float32 are known to about 1e-5 nats: a smaller contrast orders nothing.
ROUNDING = 1e-4


@dataclass(frozen=True)
class Table:
    """Rows of token ids with what is known about each before training.

    reference  (n, K) ln pi_ref of all completions, nats, summed; empty where the algorithm has no reference
    rewards    (n, K) reward units (of a reward model's rows: what the data orders them by); empty for demonstrations
    value      (n,) expected reward of the policy for each prompt, where a baseline needs it; empty: 0
    """

    rows: list[TokenRow]
    reference: Array = field(default_factory=lambda: np.empty((0, 2)))
    rewards: Array = field(default_factory=lambda: np.empty((0, 2)))
    value: Array = field(default_factory=lambda: np.empty(0))

    def __len__(self) -> int:
        return len(self.rows)

    def first(self, count: int) -> Table:
        """The first `count` rows."""
        return Table(self.rows[:count], self.reference[:count], self.rewards[:count], self.value[:count])

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
    """Reward model: all pairs of each row's completions, which are in the order of the data's rewards, best first."""

    def __init__(self, completions: int) -> None:
        self._first, self._second = pairs_of(completions)
        self.rate_name = rate_of(completions)

    def losses(self, output: Tensor, table: Table, indices: Sequence[int]) -> Tensor:
        chosen, rejected = output[:, self._first], output[:, self._second]
        losses = LOSSES["reward_model"].function(chosen.flatten(), rejected.flatten()).view(chosen.shape)
        return _mean_over_pairs(losses, pair_contrasts(table.rewards[indices]) != 0)

    def normaliser(self, table: Table, indices: Sequence[int]) -> float:
        return len(indices)

    def metrics(self, output: Array, table: Table, indices: Sequence[int]) -> dict[str, float]:
        ordered = pair_contrasts(table.rewards[indices]) != 0
        chosen, rejected = output[:, self._first][ordered], output[:, self._second][ordered]
        margin = chosen - rejected
        return {
            "accuracy": float((margin > 0).mean()),  # a tie is not right
            "margin": float(margin.mean()),
            "reward_chosen_mean": float(chosen.mean()),
            "reward_rejected_mean": float(rejected.mean()),
        }


class Contrast:
    """CoPG, DPO, IPO and policy gradient: log-ratios to the reference and rewards of all pairs of a row's K completions.

    The loss of a row is the mean over its pairs i < j. Those of DPO and IPO take the order of the rewards alone, which is
    the order of the completions: a tied pair says nothing and weighs zero. With K = 2 there is one pair.
    """

    def __init__(self, config: PreferenceConfig) -> None:
        self._loss, self._beta = LOSSES[config.algorithm], config.beta
        self._first, self._second = pairs_of(config.completions)
        self._regresses_rewards = isinstance(config, CopgConfig)
        self._per_token = isinstance(config, IPOConfig) and config.normalisation == "mean"
        self._leave_one_out = isinstance(config, CopgConfig) and config.group == "leave_one_out"
        self.rate_name = rate_of(config.completions)

    def losses(self, output: Tensor, table: Table, indices: Sequence[int]) -> Tensor:
        log_ratio = output - torch.as_tensor(table.reference[indices]).to(output)
        if self._per_token:
            log_ratio = log_ratio / torch.tensor([[len(y) for y in table.rows[i].completions] for i in indices]).to(
                output
            )
        reward = torch.as_tensor(table.rewards[indices]).to(output)
        if self._leave_one_out:
            return leave_one_out_loss(log_ratio, reward, self._beta)
        first, second = self._first, self._second
        pairs = (log_ratio[:, first], log_ratio[:, second], reward[:, first], reward[:, second])
        more = []
        if self._loss.valued:
            value = (
                torch.as_tensor(table.value[indices]).to(output) if len(table.value) else output.new_zeros(len(output))
            )
            more = [value[:, None].expand_as(pairs[0]).flatten()]
        losses = self._loss.function(*(each.flatten() for each in pairs), self._beta, *more).view(pairs[0].shape)
        used = pair_contrasts(table.rewards[indices]) != 0 if self._loss.ordered else np.ones(losses.shape, dtype=bool)
        return _mean_over_pairs(losses, used)

    def normaliser(self, table: Table, indices: Sequence[int]) -> float:
        return len(indices)

    def metrics(self, output: Array, table: Table, indices: Sequence[int]) -> dict[str, float]:
        log_ratio = output - table.reference[indices]
        log_ratio_contrast = pair_contrasts(log_ratio).ravel()
        reward_contrast = pair_contrasts(table.rewards[indices]).ravel()
        # Preferred completion first; of a tie (CoPG keeps them) the first one is called preferred, with no margin.
        preferred = np.sign(reward_contrast)
        first, second = log_ratio[:, self._first].ravel(), log_ratio[:, self._second].ravel()
        values = {
            "reward_contrast": float(np.abs(reward_contrast).mean()),
            "log_ratio_contrast": float(np.abs(log_ratio_contrast).mean()),
            "log_ratio": float(log_ratio.mean()),
            "log_ratio_preferred": float(np.where(preferred < 0, second, first).mean()),
            "log_ratio_other": float(np.where(preferred < 0, first, second).mean()),
            "margin": float((log_ratio_contrast * preferred).mean()),
            "contrast_alignment": cosine(reward_contrast, log_ratio_contrast),
        }
        if (ordered := preferred != 0).any():  # equal rewards order nothing, so no policy is right or wrong about them
            values["accuracy"] = float((log_ratio_contrast * preferred > ROUNDING)[ordered].mean())
        if self._regresses_rewards:
            # Completing the square (losses/copg.py): the share of the reward contrast that the policy explains.
            total = float((reward_contrast**2).mean())
            left = float(((reward_contrast - self._beta * log_ratio_contrast) ** 2).mean())
            values["explained_contrast"] = 1 - left / total if total > 0 else 0.0
        return values


def cosine(reward_contrast: Array, log_ratio_contrast: Array) -> float:
    """mean(dR dh) / sqrt(mean(dR^2) mean(dh^2)): 1 where the policy's contrasts are the rewards' in any unit, whatever beta.

    Its square is the share of the reward contrast that the best multiple of dh explains. 0 while dh is only rounding.

    >>> cosine(np.array([1.0, -2.0]), np.array([3.0, -6.0]))
    1.0
    """
    size = float(np.sqrt((reward_contrast**2).mean() * (log_ratio_contrast**2).mean()))
    if not size or np.abs(log_ratio_contrast).max() <= ROUNDING:
        return 0.0
    return float((reward_contrast * log_ratio_contrast).mean()) / size


def pairs_of(completions: int) -> tuple[list[int], list[int]]:
    """First and second completion of each of the K (K - 1) / 2 pairs i < j.

    >>> pairs_of(3)
    ([0, 0, 1], [1, 2, 2])
    """
    first, second = np.triu_indices(completions, 1)
    return first.tolist(), second.tolist()


def pair_contrasts(values: Array) -> Array:
    """(n, K) to (n, K (K - 1) / 2): first minus second of each pair."""
    first, second = pairs_of(values.shape[1])
    contrasts: Array = values[:, first] - values[:, second]
    return contrasts


def rate_of(completions: int) -> str:
    """The name of rows per second: a row of two completions is a pair."""
    return "pairs_per_second" if completions == 2 else "rows_per_second"


def _mean_over_pairs(losses: Tensor, used: Array) -> Tensor:
    """(B, P) to (B,): the mean over the pairs that are used, 0 where a row has none."""
    weight = torch.as_tensor(used).to(losses)
    return (losses * weight).sum(1) / weight.sum(1).clamp(min=1)


def objective_of(config: RunConfig) -> Objective:
    """The objective of a configuration's algorithm."""
    match config:
        case SFTConfig():
            return Imitation()
        case RewardModelConfig():
            return Preference(config.completions)
        case _:
            return Contrast(config)
