"""From a configuration's reward to its scorer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from copg_core.errors import ConfigError
from copg_core.policies import output_of
from copg_core.reward_sources import (
    DataReward,
    EntailmentReward,
    FunctionReward,
    GoldReward,
    RewardSource,
    RunReward,
    SumReward,
    UnitTestReward,
)
from copg_core.rewards.entailment import EntailmentScorer
from copg_core.rewards.models import GoldScorer, RewardModelScorer
from copg_core.rewards.registry import FunctionScorer
from copg_core.rewards.scorer import Scorer
from copg_core.rewards.unit_tests import UnitTestScorer
from copg_core.rewards.weighted import Term, WeightedScorer, distinct
from copg_core.sources import DataSource, TaskData


def load_scorer(
    source: RewardSource | None,
    data: DataSource,
    device: torch.device,
    dtype: torch.dtype,
    resolve_run: Callable[[str], Path] = Path,
) -> Scorer | None:
    """The scorer of a configuration; None where the data's own rewards are meant, or none at all.

    Raises ConfigError or ModelError where it cannot be had on this machine.
    """
    match source:
        case None | DataReward():
            return None
        case SumReward(rewards=terms):
            names = distinct([name_of(term.reward) for term in terms])
            scorers = [load_scorer(term.reward, data, device, dtype, resolve_run) for term in terms]
            return WeightedScorer(
                [
                    Term(name, term.weight, scorer)
                    for name, term, scorer in zip(names, terms, scorers, strict=True)
                    if scorer is not None
                ]
            )
        case RunReward(run=run):
            return RewardModelScorer(output_of(run, resolve_run, kind="reward_model"), device, dtype)
        case FunctionReward():
            return FunctionScorer(source)
        case UnitTestReward():
            return UnitTestScorer(source)
        case EntailmentReward():
            return EntailmentScorer(source, device, dtype)
        case GoldReward():
            gold = gold_scorer(data)
            if gold is None:
                raise ConfigError("the gold reward exists only for the built-in task")
            return gold


def name_of(source: RewardSource) -> str:
    """What a reward's own curve is called: the function's name, or its kind."""
    return source.name if isinstance(source, FunctionReward) else source.kind


def gold_scorer(data: DataSource) -> GoldScorer | None:
    """The gold reward of a data source, where it has one."""
    return GoldScorer(data.task) if isinstance(data, TaskData) else None
