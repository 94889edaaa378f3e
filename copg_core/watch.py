"""Recognises a run that has diverged, so that it ends with its last good checkpoint instead of going on.

A run never diverges at one clear moment. What is certain is the last evaluation at which the policy was sane, and so
the newest checkpoint that is not younger than it is the good one: it is not pruned, and whatever was written after it
goes when the run ends. Where no evaluation has passed a checkpoint yet, the newest one is the best there is.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from copg_core.checkpoints import checkpoints_in
from copg_core.config import RunConfig, SFTConfig
from copg_core.errors import CheckpointError, DivergenceError
from copg_core.events import Evaluation
from copg_core.objectives import Table
from copg_core.update import Step
from copg_core.wording import number

# A mean over few prompts is itself uncertain: a fall within so many standard errors of the difference is noise.
NOISE = 5.0
STATE = "watch"
ADVICE = "A smaller learning rate or a larger beta helps; the limits are in the configuration under Divergence"


class Watch:
    """Looks at each step before its update is applied and at each evaluation. Raises DivergenceError saying what was
    seen and what helps. Limits: recipe.Divergence; decision 16 has the reasons.
    """

    def __init__(self, config: RunConfig, checkpoints: Path) -> None:
        self._limits, self._checkpoints = config.divergence, checkpoints
        # SFT may be given a reward to look at, but it does not maximise it.
        self._maximises_reward = not isinstance(config, SFTConfig)
        self._start_reward = self._start_spread = self._start_length = math.nan
        self._evaluated = -1
        self._sane = -1
        self._low = 0

    # ------------------------------------------------------------ what survives a resume

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint: the first evaluation's reward (mean, spread, length), and how the later ones compare."""
        values = [self._start_reward, self._start_spread, self._start_length, self._evaluated, self._sane, self._low]
        return {STATE: torch.tensor(values, dtype=torch.float64)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take back what is the watch's own out of a state. Raises CheckpointError where it is not there."""
        if STATE not in state:
            raise CheckpointError(
                "the checkpoint's state.safetensors lacks watch: how its evaluations compared is unknown"
            )
        reward, spread, length, evaluated, sane, low = state.pop(STATE).tolist()
        self._start_reward, self._start_spread, self._start_length = reward, spread, length
        self._evaluated, self._sane, self._low = int(evaluated), int(sane), int(low)

    # ------------------------------------------------------------ looking

    def before_update(self, step: int, seen: Step, table: Table) -> None:
        """`step` counts from 1. A loss or gradient that is not a finite number must not reach the weights; nor should
        an update from a policy whose mean abs(h) for each token of the data has passed its limit."""
        if not (math.isfinite(seen.loss) and math.isfinite(seen.gradient_norm)):
            self._diverged(step, f"the loss is {seen.loss} and the gradient's norm {seen.gradient_norm}")
        limit = self._limits.log_ratio
        if limit and len(table.reference):
            log_ratio = np.abs(seen.output - table.reference[seen.indices]).sum()
            per_token = float(log_ratio) / table.completion_tokens(seen.indices)
            if not per_token <= limit:
                self._diverged(
                    step,
                    f"policy and reference differ by {per_token:.3g} nats for each token of the data's completions "
                    f"(limit {limit:g})",
                )

    def after_evaluation(self, seen: Evaluation) -> None:
        """The first evaluation is what later ones are compared with. One that is made again after a resume is not
        counted again."""
        if seen.step <= self._evaluated:
            return
        self._evaluated = seen.step
        spread = math.nan if seen.reward_stderr is None else seen.reward_stderr * math.sqrt(seen.n)
        if math.isnan(self._start_length) and seen.length_mean is not None:
            self._start_length = seen.length_mean
            if seen.reward_mean is not None and self._maximises_reward:
                self._start_reward, self._start_spread = seen.reward_mean, spread
        self._check_kl(seen)
        self._low = self._low + 1 if self._is_low(seen, spread) else 0
        if not self._low:
            self._sane = seen.step
        elif self._low >= self._limits.evaluations:
            assert seen.reward_mean is not None, "one that is low"
            self._diverged(
                seen.step,
                f"the reward has collapsed from {number(self._start_reward, 3)} at the start to {number(seen.reward_mean, 3)}, "
                f"more than {self._limits.reward_drop:g} standard deviations over prompts ({self._start_spread:.3g}) in "
                f"{self._low} evaluations in a row",
            )

    def _check_kl(self, seen: Evaluation) -> None:
        limit = self._limits.kl
        if not limit or seen.kl is None or seen.length_mean is None:
            return
        # Of a policy that collapses to one token the length is no scale: the length at the start is one then.
        per_token = seen.kl / max(seen.length_mean, self._start_length)
        if not per_token <= limit:
            self._diverged(
                seen.step,
                f"KL to the reference is {seen.kl:.3g} nats for a completion, {per_token:.3g} for each token "
                f"(limit {limit:g})",
            )

    def _is_low(self, seen: Evaluation, spread: float) -> bool:
        if not self._limits.reward_drop or seen.reward_mean is None or math.isnan(self._start_reward):
            return False
        drop = self._start_reward - seen.reward_mean
        noise = math.sqrt((self._start_spread**2 + spread**2) / seen.n)
        return drop > self._limits.reward_drop * self._start_spread and drop > NOISE * noise

    # ------------------------------------------------------------ the good checkpoint

    def good_checkpoint(self) -> Path | None:
        """The newest whole checkpoint that a sane evaluation has looked at or passed; without one, the newest."""
        found = checkpoints_in(self._checkpoints)
        proven = [path for step, path in found.items() if step <= self._sane]
        return next(reversed(proven or list(found.values())), None)

    def _diverged(self, step: int, what: str) -> None:
        good = self.good_checkpoint()
        kept = f"The last good checkpoint is {good.name}." if good else "No checkpoint had been written yet."
        raise DivergenceError(f"training diverged at step {step}: {what}. {ADVICE}. {kept}")
