"""Rewards that a model or the built-in task gives."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from copg_core.encoding import encode_completion, encode_prompt
from copg_core.layout import TokenRow, lay_out, micro_batches
from copg_core.policies import load_reward_model, weights_hash
from copg_core.rewards.scorer import Contexts, Progress, Rewards, finite
from copg_core.tasks import TASKS

SCORING_TOKENS = 16_384


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
        context: Contexts | None = None,
        progress: Progress | None = None,
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
        context: Contexts | None = None,
        progress: Progress | None = None,
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
