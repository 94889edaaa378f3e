"""What is known about pairs before training: their rewards, their order, and the reference's log-probabilities."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from copg_core.config import PreferenceConfig
from copg_core.encoding import EncodedComparison, decode_completion
from copg_core.errors import DataError
from copg_core.evaluate import Reference
from copg_core.layout import TokenRow
from copg_core.logprobs import CodePath
from copg_core.objectives import Array, Table
from copg_core.policies import Policy
from copg_core.reference import cached, content_key, log_probs_of, rows_hash
from copg_core.rewards.scorer import Rewards, Scorer, finite
from copg_core.rows import Comparison, Context
from copg_core.surroundings import Surroundings, versions


def chosen_first(rows: Sequence[Comparison]) -> list[Comparison]:
    """Rows that the data orders, the preferred completion first; ties and rows without rewards are left out."""
    ordered = []
    for row in rows:
        if row.reward_1 is None or row.reward_2 is None or row.reward_1 == row.reward_2:
            continue
        if row.reward_1 > row.reward_2:
            ordered.append(row)
        else:
            ordered.append(
                Comparison(
                    row.prompt, row.completion_2, row.completion_1, row.reward_2, row.reward_1, context=row.context
                )
            )
    return ordered


def preferred_first(table: Table) -> Table:
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


def rewards_of(
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
        return finite(given, [row.prompt for row in texts]), False
    prompts: list[str] = []
    completions: list[str] = []
    ended: list[bool] = []
    contexts: list[Context] = []
    for text, row in zip(texts, rows, strict=True):
        for whole, ids in ((text.completion_1, row.completion_1), (text.completion_2, row.completion_2)):
            finished = ids[-1] == policy.tokenizer.eos_token_id
            prompts.append(text.prompt)
            completions.append(whole if finished else decode_completion(policy.tokenizer, ids))
            ended.append(finished)
            contexts.append(text.context)
    digest = hashlib.sha256(repr((prompts, completions, ended, contexts)).encode()).hexdigest()
    around.progress("rewards", 0, len(prompts))

    def compute() -> Rewards:
        progress = lambda done, total: around.progress("rewards", done, total)  # noqa: E731
        return scorer.score(prompts, completions, ended, contexts, progress).reshape(-1, 2)

    key = content_key(scorer=scorer.fingerprint, rows=digest, versions=versions())
    return cached(around.cache_folder, "rewards", key, (len(texts), 2), compute)


def reference_of(
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
        with reference.module() as module:
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
