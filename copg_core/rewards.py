"""One interface for whatever scores completions: score(prompts, completions) -> rewards."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from copg_core.encoding import encode_completion, encode_prompt
from copg_core.errors import ConfigError, RewardError
from copg_core.layout import TokenRow, lay_out, micro_batches
from copg_core.policies import load_reward_model, output_of, weights_hash
from copg_core.sources import DataReward, DataSource, GoldReward, RewardSource, RunReward, TaskData
from copg_core.tasks import TASKS

Rewards = np.ndarray[Any, np.dtype[np.float64]]
SCORING_TOKENS = 16_384


class Scorer(Protocol):
    """Whatever gives completions a reward. `fingerprint` changes whenever its rewards might."""

    fingerprint: str

    def score(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        finished: Sequence[bool] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Rewards:
        """Rewards of the completions, (n,). `finished` is False for one that was cut off before EOS.

        Raises RewardError naming the prompt where a reward is not a finite number.
        """
        ...


class GoldScorer:
    """The built-in task's own function."""

    def __init__(self, task: str) -> None:
        self._task = TASKS[task]
        self.fingerprint = f"gold:{task}"

    def score(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        finished: Sequence[bool] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Rewards:
        ended = finished if finished is not None else [True] * len(prompts)
        rows = zip(prompts, completions, ended, strict=True)
        return finite(np.array([self._task.gold(x, y, finished=e) for x, y, e in rows], dtype=np.float64), prompts)


class RewardModelScorer:
    """A reward model that an earlier run trained. Text is encoded anew with its own tokenizer and its own limits."""

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self._model, self._tokenizer, manifest = load_reward_model(folder, dtype)
        self._model.to(device)
        self._device = device
        self._max_prompt = int(manifest["config"]["max_prompt_tokens"])
        self._max_completion = int(manifest["config"]["max_completion_tokens"])
        names = hashlib.sha256(repr(sorted(self._tokenizer.get_vocab().items())).encode()).hexdigest()[:16]
        self.fingerprint = (
            f"{weights_hash(self._model)}:{names}:{self._max_prompt}:{self._max_completion}:{device.type}"
        )

    def _row(self, prompt: str, completion: str, ended: bool) -> TokenRow:
        ids = encode_completion(self._tokenizer, completion, self._max_completion)
        if not ended and len(ids) > 1 and ids[-1] == self._tokenizer.eos_token_id:
            ids = ids[:-1]  # the reward model must not be told that the policy ended
        return TokenRow(encode_prompt(self._tokenizer, prompt, self._max_prompt), (ids,))

    @torch.no_grad()
    def score(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        finished: Sequence[bool] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Rewards:
        ended = finished if finished is not None else [True] * len(prompts)
        rows = [self._row(*row) for row in zip(prompts, completions, ended, strict=True)]
        lengths = [row.tokens(packed=False) for row in rows]
        rewards = np.zeros(len(rows))
        done = 0
        pad = self._tokenizer.pad_token_id
        for group in micro_batches(lengths, range(len(rows)), SCORING_TOKENS):
            laid_out = lay_out(
                [rows[i] for i in group], packed=False, pad=self._tokenizer.eos_token_id if pad is None else pad
            )
            rewards[group] = self._model(laid_out.to(self._device))[:, 0].double().cpu().numpy()
            done += len(group)
            if progress:
                progress(done, len(rows))
        return finite(rewards, prompts)


def finite(rewards: Rewards, prompts: Sequence[str]) -> Rewards:
    """The rewards themselves. Raises RewardError naming the first prompt whose reward is NaN or infinite."""
    wrong = np.flatnonzero(~np.isfinite(rewards))
    if len(wrong):
        prompt = prompts[wrong[0]]
        shown = prompt if len(prompt) <= 80 else f"{prompt[:77]}..."
        raise RewardError(
            f"the reward of {len(wrong)} of {len(rewards)} completions is not a finite number; the first is "
            f"{rewards[wrong[0]]} for the prompt {shown!r}"
        )
    return rewards


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
