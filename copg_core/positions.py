"""Positions that a model has, against those that a run asks for: the longest prompt with the longest completion behind it.

A table of positions (GPT-2, OPT, GPT-J) ends with an index error in the middle of a run, so a run that is longer is refused.
Rotary positions and ALiBi are computed, not looked up: such a model goes on beyond the length it was trained for, well where
its rotation is scaled or the excess is small and badly otherwise, which nobody can tell from its configuration. That is
reported and not refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from copg_core.config import PreferenceConfig, RewardModelConfig, RunConfig
from copg_core.errors import ConfigError
from copg_core.events import Report
from copg_core.layout import TokenRow

LIMITS = ("n_positions", "max_position_embeddings")
TABLES = ("wpe", "embed_positions", "position_embeddings")
OFFSETS = (0, 2)  # OPT's table has two rows more than positions


class Need(NamedTuple):
    """The most positions that one use of the model takes, and the settings that make them fewer."""

    what: str
    prompt: int
    completion: int
    settings: str


def check_positions(
    config: RunConfig, model: Any, rows: Sequence[TokenRow], evaluation_prompts: Sequence[Sequence[int]]
) -> list[Report]:
    """A warning where a run goes beyond the length its model was made for. Raises ConfigError where it cannot."""
    return check_needs(model, _needs(config, rows, evaluation_prompts))


def check_needs(model: Any, needs: Sequence[Need]) -> list[Report]:
    """The same for uses that somebody else has listed."""
    limit = next((n for name in LIMITS if isinstance(n := getattr(model.config, name, None), int) and n > 0), None)
    if limit is None:
        return []
    beyond = [need for need in needs if need.prompt + need.completion > limit]
    if not beyond:
        return []
    sentences = [
        f"{need.what} takes {need.prompt + need.completion} (a prompt of {need.prompt}, a completion of up to "
        f"{need.completion}): set {need.settings} so that together they are at most {limit}"
        for need in beyond
    ]
    if not _has_table(model, limit):
        return [Report(section="warning", values={"positions": f"the model was made for {limit} positions, but {'; '.join(sentences)}"})]  # fmt: skip
    raise ConfigError(
        f"the model has {limit} positions, but {'; '.join(sentences)}, or choose a model with more positions"
    )


def _needs(config: RunConfig, rows: Sequence[TokenRow], evaluation_prompts: Sequence[Sequence[int]]) -> list[Need]:
    """Completions of one row begin again behind their prompt, so of several the longest one counts."""
    longest = max(rows, key=_positions)
    needs = [
        Need(
            "the longest row of the data",
            len(longest.prompt),
            _positions(longest) - len(longest.prompt),
            "max_prompt_tokens and max_completion_tokens",
        )
    ]
    if not isinstance(config, RewardModelConfig):
        prompt, written = max(map(len, evaluation_prompts), default=0), config.evaluation.generation.max_new_tokens
        settings = "max_prompt_tokens and evaluation.generation.max_new_tokens"
        needs.append(Need("generation in evaluations", prompt, written, settings))
    if isinstance(config, PreferenceConfig) and config.sampling.fresh:
        prompt, written = max(len(row.prompt) for row in rows), config.sampling.max_new_tokens
        settings = "max_prompt_tokens and sampling.max_new_tokens"
        needs.append(Need("generation in training", prompt, written, settings))
    return needs


def _positions(row: TokenRow) -> int:
    return len(row.prompt) + max(map(len, row.completions), default=0)


def _has_table(model: Any, limit: int) -> bool:
    """Whether positions are rows of a table, learnt or computed once."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return any(
        tensor.ndim >= 2 and tensor.shape[0] - limit in OFFSETS and any(table in name for table in TABLES)
        for name, tensor in tensors
    )
