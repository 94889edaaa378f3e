"""From a configuration to everything that the loop needs: models, token rows, rewards and the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from copg_core.adapters import add_lora
from copg_core.config import PreferenceConfig, RewardModelConfig, RunConfig, SFTConfig, prompts_alone
from copg_core.datasets import (
    Comparison,
    Demonstration,
    Split,
    load_demonstrations,
    load_prompts,
)
from copg_core.encoding import (
    EncodedComparison,
    encode_comparisons,
    encode_demonstrations,
    encode_prompt,
    encode_prompts,
)
from copg_core.errors import DataError
from copg_core.evaluate import PromptSet
from copg_core.events import Report
from copg_core.fitting import fit, memory_facts
from copg_core.layout import TokenRow
from copg_core.logprobs import HEAD, CodePath, CompletionLogProbs, recognise
from copg_core.losses import LOSSES
from copg_core.objectives import Table, pair_contrasts
from copg_core.pairs import (
    chosen_first,
    comparison_split,
    given_rewards,
    longer_wins,
    preferred_first,
    reference_of,
    rewards_of,
    untied,
)
from copg_core.placement import is_divided, place, reference_for
from copg_core.policies import Policy, load_policy, new_reward_model, weights_hash
from copg_core.positions import check_positions
from copg_core.precision import lower
from copg_core.prepared import Prepared
from copg_core.processes import limit_threads
from copg_core.reward_sources import with_context
from copg_core.rewards.load import gold_scorer, load_scorer
from copg_core.rewards.outliers import reward_report
from copg_core.rows import Context
from copg_core.surroundings import Surroundings, Values, versions

REHEARSED_PAIRS = 4


def prepare(config: RunConfig, around: Surroundings) -> Prepared:
    """Load and compute everything before the first step. Raises the CopgError that says what is wrong."""
    around.progress("loading", 0, 0)
    policy = load_policy(config.policy, config.data, seed=config.seed, resolve_run=around.resolve_run)
    limit_threads(sum(parameter.numel() for parameter in policy.model.parameters()), around.device)
    if isinstance(config, SFTConfig):
        prepared = _demonstrations(config, policy, around)
    elif isinstance(config, RewardModelConfig):
        prepared = _comparisons(config, policy, around)
    elif prompts_alone(config):
        prepared = _prompts_alone(config, policy, around)
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
            "processes": around.processes.count,
            "divided_over": around.processes.count if is_divided(config, around) else 1,
        },
    )
    if prepared.estimate is not None:
        prepared.report("memory", memory_facts(prepared.estimate))
    prepared.report("versions", versions())
    return prepared


# ---------------------------------------------------------------- one function for each kind of rows


def _demonstrations(config: SFTConfig, policy: Policy, around: Surroundings) -> Prepared:
    split = load_demonstrations(around.rows_of(with_context(config.data, config.reward)))
    limits = (config.max_prompt_tokens, config.max_completion_tokens)
    around.progress("encoding", 0, len(split.train))
    train, truncation = encode_demonstrations(policy.tokenizer, split.train, *limits)
    held_out, _ = encode_demonstrations(policy.tokenizer, split.validation[: config.evaluation.prompts], *limits)
    tables = [Table([TokenRow(row.prompt, (row.completion,)) for row in rows]) for rows in (train, held_out)]
    _require_rows(tables[0], config)
    prompts = _prompts(config, policy, split)
    positions = _positions(config, policy, tables, prompts)
    # A row with one completion is an ordinary causal row: there is nothing to pack.
    path = replace(_code_path(policy, tables), packed=False, reason="one completion a row")
    estimate = fit(config, around, truncation, packed=path.packed)
    _adapt(config, policy)
    module = CompletionLogProbs(policy.model, path)
    masters = lower(module, _dtype(config))
    place(config, around, module)
    prepared = Prepared(
        policy,
        module,
        path,
        tables[0],
        tables[1],
        prompts=prompts,
        masters=masters,
        reports=positions,
        estimate=estimate,
        scorer=load_scorer(config.reward, config.data, around.device, _dtype(config), around.resolve_run),
        gold=gold_scorer(config.data),
    )
    _report_data(prepared, split, truncation.as_values())
    return prepared


def _comparisons(config: RewardModelConfig, policy: Policy, around: Surroundings) -> Prepared:
    split, groups = comparison_split(config, around)
    ordered: Split[Comparison] = Split(chosen_first(split.train), chosen_first(split.validation), {**split.report})
    around.progress("encoding", 0, len(ordered.train))
    limits = (config.max_prompt_tokens, config.max_completion_tokens)
    train, truncation = encode_comparisons(policy.tokenizer, ordered.train, *limits)
    held_out, _ = encode_comparisons(policy.tokenizer, ordered.validation, *limits)
    tables = [
        Table([_token_row(row) for row in rows], rewards=given_rewards(texts))
        for rows, texts in ((train, ordered.train), (held_out, ordered.validation))
    ]
    _require_rows(tables[0], config)
    positions = _positions(config, policy, tables)
    path = _code_path(policy, tables)
    estimate = fit(config, around, truncation, packed=path.packed)
    module = new_reward_model(policy, config.lora, config.seed)
    masters = lower(module, _dtype(config), wide=HEAD)
    place(config, around, module)
    prepared = Prepared(
        policy,
        module,
        path,
        tables[0],
        tables[1],
        prompts=PromptSet([], []),
        masters=masters,
        reports=positions,
        estimate=estimate,
        longer_wins=longer_wins(ordered.validation),
    )
    unordered = len(split.train) - len(ordered.train)
    _report_data(prepared, ordered, truncation.as_values())
    prepared.report(
        "pairs",
        {"train": len(tables[0]), "validation": len(tables[1]), "unordered_dropped": unordered, **groups},
    )
    return prepared


def _pairs(config: PreferenceConfig, policy: Policy, around: Surroundings) -> Prepared:
    split, groups = comparison_split(config, around)
    limits = (config.max_prompt_tokens, config.max_completion_tokens)
    around.progress("encoding", 0, len(split.train))
    train, truncation = encode_comparisons(policy.tokenizer, split.train, *limits)
    train_texts, held_out_texts = split.train, split.validation[: config.evaluation.prompts]
    if around.rehearsal:
        train, train_texts = train[:REHEARSED_PAIRS], train_texts[:REHEARSED_PAIRS]
        held_out_texts = held_out_texts[:REHEARSED_PAIRS]
    held_out, _ = encode_comparisons(policy.tokenizer, held_out_texts, *limits)
    scorer = load_scorer(config.reward, config.data, around.device, _dtype(config), around.resolve_run)
    tables = [Table([_token_row(row) for row in rows]) for rows in (train, held_out)]
    _require_rows(tables[0], config)
    prompts = _prompts(config, policy, split)
    positions = _positions(config, policy, tables, prompts)
    path = _sampled_path(config, policy, tables)
    estimate = fit(config, around, truncation, packed=path.packed)
    rewards = [
        rewards_of(scorer, policy, texts, rows, around)
        for texts, rows in ((train_texts, train), (held_out_texts, held_out))
    ]
    base_hash = weights_hash(policy.model)
    _adapt(config, policy)
    module = CompletionLogProbs(policy.model, path)
    # Before the reference is copied: it is computed with the same rounded weights as the policy.
    masters = lower(module, _dtype(config))
    reference = reference_for(config, around, module)
    place(config, around, module)
    log_probs = [reference_of(config, policy, reference, table.rows, base_hash, path, around) for table in tables]
    whole = [
        Table(table.rows, reference_table, reward_table)
        for table, (reference_table, _), (reward_table, _) in zip(tables, log_probs, rewards, strict=True)
    ]
    needs_order = LOSSES[config.algorithm].ordered
    final = [preferred_first(table) if needs_order else table for table in whole]
    prompt_rows = [train_texts[i] for i in untied(whole[0].rewards)] if needs_order else train_texts
    _require_rows(final[0], config)
    prepared = Prepared(
        policy,
        module,
        path,
        final[0],
        final[1],
        prompts=prompts,
        masters=masters,
        reports=positions,
        estimate=estimate,
        reference=reference,
        scorer=scorer,
        gold=gold_scorer(config.data),
        training_prompts=_prompt_set([row.prompt for row in final[0].rows], prompt_rows),
    )
    _report_data(prepared, split, truncation.as_values())
    train_rewards = rewards[0][0]
    prepared.report("rewards", reward_report(train_rewards, [row.prompt for row in train_texts]))
    prepared.report(
        "pairs",
        {
            "train": len(final[0]),
            "validation": len(final[1]),
            "ties_dropped": len(whole[0]) - len(final[0]),
            "ties": int((train_rewards.min(1) == train_rewards.max(1)).sum()),
            "reward_mean": float(train_rewards.mean()),
            "reward_contrast_mean": float(np.abs(pair_contrasts(train_rewards)).mean()),
            **groups,
            "rewards_from_cache": rewards[0][1],
            "reference_from_cache": log_probs[0][1],
        },
    )
    return prepared


def _prompts_alone(config: PreferenceConfig, policy: Policy, around: Surroundings) -> Prepared:
    """The policy writes every completion: nothing is known before training, and there are no held-out pairs."""
    split = load_prompts(around.rows_of(with_context(config.data, config.reward)))
    around.progress("encoding", 0, len(split.train))
    ids, truncation = encode_prompts(policy.tokenizer, [row.prompt for row in split.train], config.max_prompt_tokens)
    nothing = np.empty((len(ids), 0))
    tables = [Table([TokenRow(prompt, ()) for prompt in ids], nothing, nothing), Table([])]
    _require_rows(tables[0], config)
    prompts = _prompts(config, policy, split)
    positions = _positions(config, policy, tables, prompts)
    path = _sampled_path(config, policy, tables)
    estimate = fit(config, around, truncation, packed=path.packed)
    _adapt(config, policy)
    module = CompletionLogProbs(policy.model, path)
    masters = lower(module, _dtype(config))
    reference = reference_for(config, around, module)
    place(config, around, module)
    prepared = Prepared(
        policy,
        module,
        path,
        tables[0],
        tables[1],
        prompts=prompts,
        masters=masters,
        reports=positions,
        estimate=estimate,
        reference=reference,
        scorer=load_scorer(config.reward, config.data, around.device, _dtype(config), around.resolve_run),
        gold=gold_scorer(config.data),
        training_prompts=_prompt_set(ids, split.train),
    )
    _report_data(prepared, split, truncation.as_values())
    return prepared


# ---------------------------------------------------------------- steps of it


def _sampled_path(config: PreferenceConfig, policy: Policy, tables: Sequence[Table]) -> CodePath:
    """The code path for the data's rows and for those that the policy may write, at the temperature of writing."""
    longest = max((row.tokens(packed=True) for table in tables for row in table.rows), default=0)
    if config.sampling.fresh:
        prompt = max(len(row.prompt) for table in tables for row in table.rows)
        own = max((len(ids) for table in tables for row in table.rows for ids in row.completions), default=0)
        longest = max(longest, prompt + config.completions * max(own, config.sampling.max_new_tokens))
    return replace(recognise(policy.model, longest), temperature=config.sampling.temperature)


def _prompt_set(ids: list[list[int]], rows: Sequence[Comparison | Demonstration]) -> PromptSet:
    return PromptSet([row.prompt for row in rows], ids, [row.context for row in rows])


def _token_row(row: EncodedComparison) -> TokenRow:
    return TokenRow(row.prompt, row.completions)


def _require_rows(table: Table, config: RunConfig) -> None:
    if not len(table):
        raise DataError(f"no training rows are left for {config.algorithm}: check filters, columns and ties")


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
    first: dict[str, Context] = {}
    for row in rows:
        first.setdefault(row.prompt, row.context)
    texts = list(first)[: config.evaluation.prompts]
    ids = [encode_prompt(policy.tokenizer, text, config.max_prompt_tokens) for text in texts]
    return PromptSet(texts, ids, [first[text] for text in texts])


def _positions(
    config: RunConfig, policy: Policy, tables: Sequence[Table], prompts: PromptSet | None = None
) -> list[Report]:
    rows = [row for table in tables for row in table.rows]
    return check_positions(config, policy.model, rows, prompts.ids if prompts else [])


def _report_data(prepared: Prepared, split: Split[Any], truncation: Values) -> None:
    prepared.report("data", {**split.report, "evaluation_prompts": len(prepared.prompts.texts)})
    if not split.validation:
        prepared.report("warning", {"evaluation": "no validation rows: evaluated on training prompts"})
    prepared.report("truncation", truncation)
