"""From a configuration's reward to its scorer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from copg_core.errors import ConfigError
from copg_core.policies import output_of
from copg_core.rewards.models import GoldScorer, RewardModelScorer
from copg_core.rewards.scorer import Scorer
from copg_core.sources import DataReward, DataSource, GoldReward, RewardSource, RunReward, TaskData


def load_scorer(
    source: RewardSource | None,
    data: DataSource,
    device: torch.device,
    dtype: torch.dtype,
    resolve_run: Callable[[str], Path] = Path,
) -> Scorer | None:
    """The scorer of a configuration; None where the data's own rewards are meant, or none at all."""
    match source:
        case None | DataReward():
            return None
        case RunReward(run=run):
            return RewardModelScorer(output_of(run, resolve_run, kind="reward_model"), device, dtype)
        case GoldReward():
            gold = gold_scorer(data)
            if gold is None:
                raise ConfigError("the gold reward exists only for the built-in task")
            return gold


def gold_scorer(data: DataSource) -> GoldScorer | None:
    """The gold reward of a data source, where it has one."""
    return GoldScorer(data.task) if isinstance(data, TaskData) else None
