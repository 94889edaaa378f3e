"""From a configuration to everything that the loop needs: models, token rows, rewards and the reference."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from copg_core.config import CopgConfig, DPOConfig, IPOConfig, PreferenceConfig, RewardModelConfig, RunConfig, SFTConfig
from copg_core.datasets import Comparison, Split, load_comparisons, load_demonstrations
from copg_core.encoding import (
    EncodedComparison,
    decode_completion,
    encode_comparisons,
    encode_demonstrations,
    encode_prompt,
)
from copg_core.errors import DataError
from copg_core.evaluate import PromptSet, Reference
from copg_core.events import Report
from copg_core.layout import TokenRow
from copg_core.logprobs import CodePath, CompletionLogProbs, RewardModel, recognise
from copg_core.losses import LOSSES
from copg_core.objectives import Array, Table
from copg_core.policies import Policy, add_lora, load_policy, new_reward_model, weights_hash
from copg_core.processes import limit_threads
from copg_core.reference import cached, content_key, log_probs_of, rows_hash
from copg_core.rewards import Rewards, Scorer, finite, gold_scorer, load_scorer

PREFERENCE = (CopgConfig, DPOConfig, IPOConfig)
PACKAGES = ("copg-studio", "torch", "transformers", "tokenizers", "accelerate", "peft", "safetensors", "numpy")
Values = dict[str, str | int | float | bool | None]


@dataclass
class Surroundings:
    """What a run is given besides its configuration. `progress(stage, done, total)` may raise to stop the work."""

    device: torch.device
    resolve_run: Callable[[str], Path] = Path
    cache_folder: Path | None = None
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None
    autocast: Callable[[], Any] = nullcontext


@dataclass
class Prepared:
    """A run that is ready to train. `module` gives what its objective works on; `path` says in which layout."""

    policy: Policy
    module: nn.Module
    path: CodePath
    train: Table
    validation: Table
    prompts: PromptSet
    longer_wins: float | None = None
    reference: Reference | None = None
    scorer: Scorer | None = None
    gold: Scorer | None = None
    reports: list[Report] = field(default_factory=list)

    def report(self, section: str, values: Values) -> None:
        """Note facts about the run."""
        self.reports.append(Report(section=section, values=values))


def prepare(config: RunConfig, around: Surroundings) -> Prepared:
    """Load and compute everything before the first step. Raises the CopgError that says what is wrong."""
    around.progress("loading", 0, 0)
    policy = load_policy(config.policy, config.data, seed=config.seed, resolve_run=around.resolve_run)
    limit_threads(sum(parameter.numel() for parameter in policy.model.parameters()), around.device)
    if isinstance(config, SFTConfig):
        prepared = _demonstrations(config, policy, around)
    elif isinstance(config, RewardModelConfig):
        prepared = _comparisons(config, policy, around)
    else:
        prepared = _pairs(config, policy, around)
    parameters = list(prepared.module.parameters())
    prepared.report(
        "model",
        {
            "source": policy.description,
            "architecture": type(policy.model).__name__,
            "parameters": sum(p.numel() for p in parameters),
            "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
            "vocabulary": len(policy.tokenizer),
            "packed_rows": prepared.path.packed,
            "completion_only_head": prepared.path.chunked,
            "code_path_reason": prepared.path.reason,
            "device": around.device.type,
        },
    )
    prepared.report("versions", versions())
    return prepared


def versions() -> Values:
    """Versions of Python and of every package that the numbers depend on."""
    found: Values = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


# ---------------------------------------------------------------- one function for each kind of rows


def _demonstrations(config: SFTConfig, policy: Policy, around: Surroundings) -> Prepared:
    split = load_demonstrations(config.data)
    limits = (config.max_prompt_tokens, config.max_completion_tokens)
    around.progress("encoding", 0, len(split.train))
    train, truncation = encode_demonstrations(policy.tokenizer, split.train, *limits)
    held_out, _ = encode_demonstrations(policy.tokenizer, split.validation[: config.evaluation.prompts], *limits)
    tables = [Table([TokenRow(row.prompt, (row.completion,)) for row in rows]) for rows in (train, held_out)]
    _require_rows(tables[0], config)
    # A row with one completion is an ordinary causal row: there is nothing to pack.
    path = replace(_code_path(policy, tables), packed=False, reason="one completion a row")
    _adapt(config, policy)
    policy.model.to(around.device)
    prepared = Prepared(
        policy,
        CompletionLogProbs(policy.model, path),
        path,
        tables[0],
        tables[1],
        prompts=_prompts(config, policy, split),
        scorer=load_scorer(config.reward, config.data, around.device, _dtype(config), around.resolve_run),
        gold=gold_scorer(config.data),
    )
    _report_data(prepared, split, truncation.as_values())
    return prepared


def _comparisons(config: RewardModelConfig, policy: Policy, around: Surroundings) -> Prepared:
    split = load_comparisons(config.data)
    ordered: Split[Comparison] = Split(_chosen_first(split.train), _chosen_first(split.validation), {**split.report})
    around.progress("encoding", 0, len(ordered.train))
    limits = (config.max_prompt_tokens, config.max_completion_tokens)
    train, truncation = encode_comparisons(policy.tokenizer, ordered.train, *limits)
    held_out, _ = encode_comparisons(policy.tokenizer, ordered.validation, *limits)
    tables = [Table([_token_row(row) for row in rows]) for rows in (train, held_out)]
    _require_rows(tables[0], config)
    path = _code_path(policy, tables)
    module = new_reward_model(policy, config.lora, config.seed).to(around.device)
    lengths = [(len(row.completion_1), len(row.completion_2)) for row in ordered.validation]
    prepared = Prepared(
        policy,
        module,
        path,
        tables[0],
        tables[1],
        prompts=PromptSet([], []),
        longer_wins=float(np.mean([chosen > rejected for chosen, rejected in lengths])) if lengths else None,
    )
    unordered = len(split.train) - len(ordered.train)
    _report_data(prepared, ordered, truncation.as_values())
    prepared.report("pairs", {"train": len(tables[0]), "validation": len(tables[1]), "unordered_dropped": unordered})
    return prepared


def _pairs(config: PreferenceConfig, policy: Policy, around: Surroundings) -> Prepared:
    split = load_comparisons(config.data)
    limits = (config.max_prompt_tokens, config.max_completion_tokens)
    around.progress("encoding", 0, len(split.train))
    train, truncation = encode_comparisons(policy.tokenizer, split.train, *limits)
    held_out_texts = split.validation[: config.evaluation.prompts]
    held_out, _ = encode_comparisons(policy.tokenizer, held_out_texts, *limits)
    scorer = load_scorer(config.reward, config.data, around.device, _dtype(config), around.resolve_run)
    tables = [Table([_token_row(row) for row in rows]) for rows in (train, held_out)]
    _require_rows(tables[0], config)
    path = _code_path(policy, tables)
    rewards = [
        _rewards(scorer, policy, texts, rows, around)
        for texts, rows in ((split.train, train), (held_out_texts, held_out))
    ]
    base_hash = weights_hash(policy.model)
    _adapt(config, policy)
    policy.model.to(around.device)
    reference = Reference(policy.model, path, adapters=config.lora.enabled, device=around.device)
    log_probs = [
        _reference_log_probs(config, policy, reference, table.rows, base_hash, path, around) for table in tables
    ]
    whole = [
        Table(table.rows, reference_table, reward_table)
        for table, (reference_table, _), (reward_table, _) in zip(tables, log_probs, rewards, strict=True)
    ]
    needs_order = LOSSES[config.algorithm].ordered
    final = [_preferred_first(table) if needs_order else table for table in whole]
    _require_rows(final[0], config)
    prepared = Prepared(
        policy,
        CompletionLogProbs(policy.model, path),
        path,
        final[0],
        final[1],
        prompts=_prompts(config, policy, split),
        reference=reference,
        scorer=scorer,
        gold=gold_scorer(config.data),
    )
    _report_data(prepared, split, truncation.as_values())
    train_rewards = rewards[0][0]
    prepared.report(
        "pairs",
        {
            "train": len(final[0]),
            "validation": len(final[1]),
            "ties_dropped": len(whole[0]) - len(final[0]),
            "ties": int((train_rewards[:, 0] == train_rewards[:, 1]).sum()),
            "reward_mean": float(train_rewards.mean()),
            "reward_contrast_mean": float(np.abs(train_rewards[:, 0] - train_rewards[:, 1]).mean()),
            "rewards_from_cache": rewards[0][1],
            "reference_from_cache": log_probs[0][1],
        },
    )
    return prepared


# ---------------------------------------------------------------- steps of it


def _token_row(row: EncodedComparison) -> TokenRow:
    return TokenRow(row.prompt, (row.completion_1, row.completion_2))


def _require_rows(table: Table, config: RunConfig) -> None:
    if not len(table):
        raise DataError(f"no training rows are left for {config.algorithm}: check filters, columns and ties")


def _chosen_first(rows: Sequence[Comparison]) -> list[Comparison]:
    """Rows that the data orders, the preferred completion first; ties and rows without rewards are left out."""
    ordered = []
    for row in rows:
        if row.reward_1 is None or row.reward_2 is None or row.reward_1 == row.reward_2:
            continue
        if row.reward_1 > row.reward_2:
            ordered.append(row)
        else:
            ordered.append(Comparison(row.prompt, row.completion_2, row.completion_1, row.reward_2, row.reward_1))
    return ordered


def _preferred_first(table: Table) -> Table:
    """Pairs in the order of their rewards, with everything known about them; ties are left out."""
    contrast = table.rewards[:, 0] - table.rewards[:, 1]
    kept = np.flatnonzero(contrast != 0)
    order = np.where(contrast[kept, None] > 0, [[0, 1]], [[1, 0]])
    rows = [
        TokenRow(table.rows[i].prompt, (table.rows[i].completions[a], table.rows[i].completions[b]))
        for i, (a, b) in zip(kept.tolist(), order.tolist(), strict=True)
    ]
    take = np.take_along_axis
    return Table(rows, take(table.reference[kept], order, 1), take(table.rewards[kept], order, 1))


def _code_path(policy: Policy, tables: Sequence[Table]) -> CodePath:
    longest = max((row.tokens(packed=True) for table in tables for row in table.rows), default=0)
    return recognise(policy.model, longest)


def _adapt(config: RunConfig, policy: Policy) -> None:
    if config.lora.enabled:
        policy.model = add_lora(policy.model, config.lora, config.seed)


def _dtype(config: RunConfig) -> torch.dtype:
    return torch.bfloat16 if config.dtype == "bfloat16" else torch.float32


def _prompts(config: RunConfig, policy: Policy, split: Split[Any]) -> PromptSet:
    """The first distinct validation prompts; training prompts where there is no validation row (and it is reported)."""
    rows = split.validation or split.train
    texts = list(dict.fromkeys(row.prompt for row in rows))[: config.evaluation.prompts]
    return PromptSet(texts, [encode_prompt(policy.tokenizer, text, config.max_prompt_tokens) for text in texts])


def _rewards(
    scorer: Scorer | None,
    policy: Policy,
    texts: Sequence[Comparison],
    rows: Sequence[EncodedComparison],
    around: Surroundings,
) -> tuple[Rewards, bool]:
    """(n, 2) rewards of the completions as they are trained on: one that was cut is scored as it was cut."""
    if scorer is None:
        if any(row.reward_1 is None or row.reward_2 is None for row in texts):
            raise DataError("some pairs carry no rewards: choose a reward-model run, or data with reward columns")
        given = np.array([[row.reward_1, row.reward_2] for row in texts], dtype=np.float64).reshape(-1, 2)
        return finite(given, [row.prompt for row in texts]) if not np.isfinite(given).all() else given, False
    prompts: list[str] = []
    completions: list[str] = []
    ended: list[bool] = []
    for text, row in zip(texts, rows, strict=True):
        for whole, ids in ((text.completion_1, row.completion_1), (text.completion_2, row.completion_2)):
            finished = ids[-1] == policy.tokenizer.eos_token_id
            prompts.append(text.prompt)
            completions.append(whole if finished else decode_completion(policy.tokenizer, ids))
            ended.append(finished)
    digest = hashlib.sha256(repr((prompts, completions, ended)).encode()).hexdigest()
    around.progress("rewards", 0, len(prompts))

    def compute() -> Rewards:
        progress = lambda done, total: around.progress("rewards", done, total)  # noqa: E731
        return scorer.score(prompts, completions, ended, progress).reshape(-1, 2)

    key = content_key(scorer=scorer.fingerprint, rows=digest, versions=versions())
    return cached(around.cache_folder, "rewards", key, (len(texts), 2), compute)


def _reference_log_probs(
    config: PreferenceConfig,
    policy: Policy,
    reference: Reference,
    rows: list[TokenRow],
    base_hash: str,
    path: CodePath,
    around: Surroundings,
) -> tuple[Array, bool]:
    around.progress("reference", 0, len(rows))

    def compute() -> Array:
        with reference.module() as module, around.autocast():
            return log_probs_of(
                module,
                rows,
                packed=path.packed,
                pad=policy.pad,
                token_budget=config.micro_batch_tokens,
                device=around.device,
                progress=lambda done, total: around.progress("reference", done, total),
            ).reshape(-1, 2)

    key = content_key(
        weights=base_hash,
        rows=rows_hash(rows),
        packed=path.packed,
        chunked=path.chunked,
        dtype=config.dtype,
        device=around.device.type,
        versions=versions(),
    )
    return cached(around.cache_folder, "reference", key, (len(rows), 2), compute)


def _report_data(prepared: Prepared, split: Split[Any], truncation: Values) -> None:
    prepared.report("data", {**split.report, "evaluation_prompts": len(prepared.prompts.texts)})
    if not split.validation:
        prepared.report("warning", {"evaluation": "no validation rows: evaluated on training prompts"})
    prepared.report("truncation", truncation)


def is_reward_model(module: nn.Module) -> bool:
    """Whether a module gives rewards (and not log-probabilities)."""
    return isinstance(module, RewardModel)
