"""What is known about pairs, or groups of K completions, before training: their rewards, their order, and the reference's log-probabilities."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from copg_core.config import PreferenceConfig, RewardModelConfig
from copg_core.datasets import Split, load_comparisons
from copg_core.encoding import EncodedComparison, decode_completion
from copg_core.errors import DataError
from copg_core.evaluate import Reference
from copg_core.layout import TokenRow
from copg_core.logprobs import CodePath
from copg_core.objectives import Array, Table
from copg_core.policies import Policy
from copg_core.reference import cached, content_key, log_probs_of, rows_hash
from copg_core.reward_sources import with_context
from copg_core.rewards.scorer import Rewards, Scorer, finite
from copg_core.rows import Comparison, Context
from copg_core.surroundings import Surroundings, versions


def comparison_split(
    config: RewardModelConfig | PreferenceConfig, around: Surroundings
) -> tuple[Split[Comparison], dict[str, int]]:
    """Rows with as many completions as the configuration asks for, and how many were cut or dropped for it."""
    source = config.data if isinstance(config, RewardModelConfig) else with_context(config.data, config.reward)
    split = load_comparisons(around.rows_of(source))
    train, counts = fit_groups(split.train, config.completions)
    validation, _ = fit_groups(split.validation, config.completions)
    return Split(train, validation, split.report), counts


def fit_groups(rows: Sequence[Comparison], completions: int) -> tuple[list[Comparison], dict[str, int]]:
    """Rows with exactly `completions` completions, and how many were cut to their first ones or dropped as too short."""
    enough = [row for row in rows if len(row.completions) >= completions]
    cut = sum(len(row.completions) > completions for row in enough)
    kept = [row if len(row.completions) == completions else row.taking(range(completions)) for row in enough]
    return kept, {"groups_cut": cut, "groups_too_small_dropped": len(rows) - len(enough)}


def chosen_first(rows: Sequence[Comparison]) -> list[Comparison]:
    """Rows that the data orders, the best completion first; ties of all and rows without rewards are left out."""
    ordered = []
    for row in rows:
        rewards = row.rewards
        if rewards is None or min(rewards) == max(rewards):
            continue
        ordered.append(row.taking(sorted(range(len(rewards)), key=lambda i: -rewards[i])))
    return ordered


def longer_wins(rows: Sequence[Comparison]) -> float | None:
    """Share of ordered pairs, best completion first, whose better completion has more characters; None without rows."""
    wins = []
    for row in rows:
        rewards = row.rewards or ()
        lengths = [len(text) for text in row.completions]
        wins += [lengths[i] > lengths[j] for i, j in combinations(range(len(rewards)), 2) if rewards[i] > rewards[j]]
    return float(np.mean(wins)) if wins else None


def given_rewards(rows: Sequence[Comparison]) -> Rewards:
    """(n, K) rewards that the data has. Raises DataError where a row has none."""
    given = [row.rewards for row in rows]
    if any(rewards is None for rewards in given):
        raise DataError("some pairs carry no rewards: choose a reward-model run, or data with reward columns")
    return np.array(given, dtype=np.float64).reshape(len(rows), len(given[0] or ()) if given else 2)


def order_of(rewards: Rewards) -> Array:
    """(n, K) numbers of the completions of each row, highest reward first, equal ones as they stand."""
    return np.argsort(-rewards, axis=1, kind="stable")


def untied(rewards: Rewards) -> Array:
    """Numbers of the rows whose completions do not all have one reward."""
    return np.flatnonzero(rewards.min(1) != rewards.max(1))


def preferred_first(table: Table) -> Table:
    """Completions in the order of their rewards, with everything known about them; ties of all are left out."""
    kept = untied(table.rewards)
    order = order_of(table.rewards[kept])
    rows = [
        TokenRow(table.rows[i].prompt, tuple(table.rows[i].completions[k] for k in numbers))
        for i, numbers in zip(kept.tolist(), order.tolist(), strict=True)
    ]
    take = np.take_along_axis
    return Table(rows, take(table.reference[kept], order, 1), take(table.rewards[kept], order, 1))


def rewards_of(
    scorer: Scorer | None,
    policy: Policy,
    texts: Sequence[Comparison],
    rows: Sequence[EncodedComparison],
    around: Surroundings,
) -> tuple[Rewards, bool]:
    """(n, K) rewards of the completions as they are trained on: one that was cut is scored as it was cut."""
    if scorer is None:
        given = given_rewards(texts)
        return finite(given, [row.prompt for row in texts]), False
    prompts: list[str] = []
    completions: list[str] = []
    ended: list[bool] = []
    contexts: list[Context] = []
    for text, row in zip(texts, rows, strict=True):
        for whole, ids in zip(text.completions, row.completions, strict=True):
            finished = ids[-1] == policy.tokenizer.eos_token_id
            prompts.append(text.prompt)
            completions.append(whole if finished else decode_completion(policy.tokenizer, ids))
            ended.append(finished)
            contexts.append(text.context)
    digest = hashlib.sha256(repr((prompts, completions, ended, contexts)).encode()).hexdigest()
    around.progress("rewards", 0, len(prompts))
    shape = (len(rows), len(rows[0].completions) if rows else 2)

    def compute() -> Rewards:
        progress = lambda done, total: around.progress("rewards", done, total)  # noqa: E731
        return around.processes.from_main(
            lambda: scorer.score(prompts, completions, ended, contexts, progress).reshape(shape)
        )

    key = content_key(scorer=scorer.fingerprint, rows=digest, versions=versions())
    waiting = lambda: around.progress("rewards", 0, len(prompts))  # noqa: E731
    return cached(around.cache_folder, "rewards", key, shape, compute, around.processes, waiting)


def reference_of(
    config: PreferenceConfig,
    policy: Policy,
    reference: Reference,
    rows: list[TokenRow],
    base_hash: str,
    path: CodePath,
    around: Surroundings,
) -> tuple[Array, bool]:
    """(n, K) log-probabilities of the reference, and whether they were found in the cache."""
    around.progress("reference", 0, len(rows))
    shape = (len(rows), len(rows[0].completions) if rows else 2)

    def compute() -> Array:
        with reference.module() as module:
            return log_probs_of(
                module,
                rows,
                packed=path.packed,
                pad=policy.pad,
                token_budget=config.micro_batch_tokens,
                device=around.device,
                progress=lambda done, total: around.progress("reference", done, total),
                processes=around.processes,
            ).reshape(shape)

    key = content_key(
        weights=base_hash,
        rows=rows_hash(rows),
        packed=path.packed,
        chunked=path.chunked,
        **({"temperature": path.temperature} if path.temperature != 1 else {}),
        dtype=config.dtype,
        device=around.device.type,
        versions=versions(),
    )
    waiting = lambda: around.progress("reference", 0, len(rows))  # noqa: E731
    return cached(around.cache_folder, "reference", key, shape, compute, around.processes, waiting)
