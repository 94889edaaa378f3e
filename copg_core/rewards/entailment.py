"""Textual entailment by any sequence classifier of transformers that has a label for it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from copg_core.errors import ModelError, RewardError
from copg_core.policies import weights_hash
from copg_core.reward_sources import EntailmentReward
from copg_core.rewards.scorer import Contexts, Progress, Rewards, finite
from copg_core.rows import NO_CONTEXT
from copg_core.sources import expanded

LABEL = "entailment"
SCORING_TOKENS = 16_384


class EntailmentScorer:
    """R = P(entailment | premise, completion), or its logit. The premise is the prompt or a column of the row.

    Pairs are scored with pairs of equal length, so that there is no padding for a model to read.
    """

    def __init__(self, source: EntailmentReward, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        place = str(expanded(source.model)) if expanded(source.model).is_dir() else source.model
        self._model, self._tokenizer = _load(place, dtype)
        self._model.to(device)
        self._source, self._device = source, device
        self._label = label_of(self._model.config.id2label, place)
        self._limit = min(source.max_tokens, _longest(self._model.config, self._tokenizer))
        names = hashlib.sha256(repr(sorted(self._tokenizer.get_vocab().items())).encode()).hexdigest()[:16]
        self.fingerprint = (
            f"entailment:{weights_hash(self._model)}:{names}:{self._label}:{self._limit}:{source.premise}:{source.score}"
            f":{device.type}"
        )

    @torch.no_grad()
    def score(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        finished: Sequence[bool] | None = None,
        context: Contexts | None = None,
        progress: Progress | None = None,
    ) -> Rewards:
        """Rewards of the completions, (n,): a probability, or a logit."""
        known = context if context is not None else [NO_CONTEXT] * len(prompts)
        column = self._source.premise
        if column and any(row[column] is None for row in known):
            raise RewardError(f"the column {column!r}, the premise, is empty in some row")
        premises = [str(row[column]) for row in known] if column else list(prompts)
        pairs = [self._encode(*pair) for pair in zip(premises, completions, strict=True)]
        rewards = np.zeros(len(pairs))
        done = 0
        for group in self._groups([len(pair["input_ids"]) for pair in pairs]):
            batch = {name: torch.tensor([pairs[i][name] for i in group], device=self._device) for name in pairs[0]}
            logits = self._model(**batch).logits.float()
            scores = logits.softmax(-1) if self._source.score == "probability" else logits
            rewards[group] = scores[:, self._label].double().cpu().numpy()
            done += len(group)
            if progress:
                progress(done, len(pairs))
        return finite(rewards, prompts, "entailment reward")

    def _encode(self, premise: str, completion: str) -> dict[str, list[int]]:
        encoded = self._tokenizer(premise, completion, truncation="longest_first", max_length=self._limit)
        return {name: list(ids) for name, ids in encoded.items()}

    def _groups(self, lengths: Sequence[int]) -> list[list[int]]:
        """Indices of pairs of one length, as many at once as the token budget allows."""
        by_length: dict[int, list[int]] = {}
        for index, length in enumerate(lengths):
            by_length.setdefault(length, []).append(index)
        groups = []
        for length, indices in sorted(by_length.items()):
            # A decoder that knows no padding token takes only one row at a time.
            size = max(1, SCORING_TOKENS // length) if self._model.config.pad_token_id is not None else 1
            groups += [indices[start : start + size] for start in range(0, len(indices), size)]
        return groups


def label_of(labels: dict[int, str], place: str) -> int:
    """The index of the label `entailment`, whatever its case. Raises ModelError naming the labels there are."""
    found = [int(index) for index, label in labels.items() if str(label).strip().lower() == LABEL]
    if len(found) != 1:
        names = ", ".join(str(label) for label in labels.values())
        raise ModelError(
            f"{place} has the labels {names}, none of which is `{LABEL}`: choose a model for natural language inference, or "
            "name its labels in id2label of its config.json"
        )
    return found[0]


def _longest(config: Any, tokenizer: Any) -> int:
    """Tokens that the model has positions for; what a tokenizer does not know it gives as a huge number."""
    known = [int(tokenizer.model_max_length)] if tokenizer.model_max_length < 1e6 else []
    positions = getattr(config, "max_position_embeddings", None)
    if not known and isinstance(positions, int) and positions > 0:
        known.append(positions)
    return min(known, default=1_000_000)


def _load(place: str, dtype: torch.dtype) -> tuple[Any, Any]:
    try:
        config = AutoConfig.from_pretrained(place, trust_remote_code=False)
        model, info = AutoModelForSequenceClassification.from_pretrained(
            place, config=config, dtype=dtype, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, TypeError, SafetensorError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{place} cannot be loaded as a sequence classifier ({reason}): expected a hub id, or a folder with "
            "config.json, tokenizer and safetensors"
        ) from error
    if lacking := sorted(info["missing_keys"]):
        raise ModelError(f"{place} was not trained as a classifier: it lacks the weights {', '.join(lacking[:3])}")
    return model.requires_grad_(False).eval(), tokenizer
