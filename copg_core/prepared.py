"""A run that is ready to train: what prepare.py makes and the loop, its batches and its diagnostics work on."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from copg_core.estimate import RunEstimate
from copg_core.evaluate import PromptSet, Reference
from copg_core.events import Report
from copg_core.logprobs import CodePath, RewardModel
from copg_core.objectives import Table
from copg_core.policies import Policy
from copg_core.precision import Masters
from copg_core.rewards.scorer import Scorer
from copg_core.surroundings import Values


@dataclass
class Prepared:
    """A run that is ready to train. `module` gives what its objective works on; `path` says in which layout.

    `masters` are the exact values of trained parameters that `module` holds rounded (precision.py); `estimate` is what the
    run is expected to cost, where the device's memory is known.
    """

    policy: Policy
    module: nn.Module
    path: CodePath
    train: Table
    validation: Table
    prompts: PromptSet
    masters: Masters = field(default_factory=dict)
    estimate: RunEstimate | None = None
    longer_wins: float | None = None
    reference: Reference | None = None
    scorer: Scorer | None = None
    gold: Scorer | None = None
    # Of each row of `train`, where completions may be written for it.
    training_prompts: PromptSet | None = None
    reports: list[Report] = field(default_factory=list)

    def report(self, section: str, values: Values) -> None:
        """Note facts about the run."""
        self.reports.append(Report(section=section, values=values))


def is_reward_model(module: nn.Module) -> bool:
    """Whether a module gives rewards (and not log-probabilities)."""
    return isinstance(module, RewardModel)
