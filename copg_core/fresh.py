"""Lets the policy write completions while it learns: generated, scored, and measured by the reference at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from torch import nn

from copg_core.budget import TokenBudget
from copg_core.encoding import decode_completion
from copg_core.evaluate import PromptSet, Reference
from copg_core.generate import Completion, generate
from copg_core.layout import TokenRow
from copg_core.logprobs import CodePath
from copg_core.objectives import Array
from copg_core.policies import Policy
from copg_core.processes import Processes
from copg_core.recipe import Sampling
from copg_core.reference import log_probs_of
from copg_core.replay import Fresh
from copg_core.rewards.scorer import Scorer
from copg_core.rows import Context

T = TypeVar("T")
Between = Callable[[int, int], None]


@dataclass(frozen=True)
class Request:
    """One completion to write: for which prompt (row of the training table), and which of its random streams.

    The stream (for_step, row, which) is never used twice, and `which` counts from 1: 0 belongs to evaluations.
    """

    row: int
    for_step: int
    which: int


@dataclass
class Writer:
    """Writes completions with the policy as it is now."""

    policy: Policy
    module: nn.Module
    path: CodePath
    reference: Reference
    scorer: Scorer
    prompts: PromptSet
    numbers: list[int]
    plan: Sampling
    token_budget: TokenBudget
    writing_budget: TokenBudget
    seed: int
    processes: Processes

    def write(self, requests: Sequence[Request], step: int, between: Between) -> list[Fresh]:
        """One completion for each request, in their order; processes share the work, and all get everything.

        Raises RewardError, in all processes alike, where a completion cannot be scored in any of them.
        """
        if not requests:
            return []
        completions = self._generate(requests, between)
        rewards = self._scores(requests, completions)
        behaviour = self._log_probs(self.module, requests, completions)
        with self.reference.module() as module:
            reference = self._log_probs(module, requests, completions)
        known = np.stack([rewards, reference, behaviour], 1).tolist()
        return [
            Fresh(self.numbers[request.row], step, completion.ids, completion.finished, *numbers)
            for request, completion, numbers in zip(requests, completions, known, strict=True)
        ]

    def _generate(self, requests: Sequence[Request], between: Between) -> list[Completion]:
        return generate(
            self.policy,
            self.module,
            [self.prompts.ids[request.row] for request in requests],
            max_new_tokens=self.plan.max_new_tokens,
            temperature=self.plan.temperature,
            batch_size=self.plan.batch_size,
            seed=self.seed,
            streams=[(request.for_step, request.row, request.which) for request in requests],
            device=self.processes.device,
            between=between,
            processes=self.processes,
            budget=self.writing_budget,
        )

    def _scores(self, requests: Sequence[Request], completions: Sequence[Completion]) -> Array:
        mine = self.processes.share(list(zip(requests, completions, strict=True)))

        def score() -> list[float]:
            rewards: list[float] = self.scorer.score(
                [self.prompts.texts[request.row] for request, _ in mine],
                [self._text(completion) for _, completion in mine],
                [completion.finished for _, completion in mine],
                [self.prompts.contexts[request.row] for request, _ in mine],
            ).tolist()
            return rewards

        return np.array(in_turns(self.processes.gather_computed(score)))

    def _text(self, completion: Completion) -> str:
        ids = completion.ids[:-1] if completion.finished else completion.ids
        return decode_completion(self.policy.tokenizer, ids)

    def _log_probs(self, module: nn.Module, requests: Sequence[Request], completions: Sequence[Completion]) -> Array:
        """ln probability of each completion, those of one row and step packed behind their prompt."""
        together: dict[tuple[int, int], list[int]] = {}
        for i, request in enumerate(requests):
            together.setdefault((request.for_step, request.row), []).append(i)
        by_count: dict[int, list[list[int]]] = {}
        for members in together.values():
            by_count.setdefault(len(members), []).append(members)
        result = np.zeros(len(requests))
        for groups in by_count.values():
            rows = [
                TokenRow(self.prompts.ids[requests[members[0]].row], tuple(completions[i].ids for i in members))
                for members in groups
            ]
            result[np.array(groups)] = log_probs_of(
                module,
                rows,
                packed=self.path.packed,
                pad=self.policy.pad,
                token_budget=self.token_budget,
                device=self.processes.device,
                processes=self.processes,
            )
        return result


def in_turns(parts: Sequence[Sequence[T]]) -> list[T]:
    """Undo Processes.share: one item of each part, again and again.

    >>> in_turns([["a", "c", "e"], ["b", "d"]])
    ['a', 'b', 'c', 'd', 'e']
    """
    count = len(parts)
    return [parts[i % count][i // count] for i in range(sum(map(len, parts)))]


def prompt_numbers(prompts: PromptSet) -> list[int]:
    """For each row the first row with the same prompt and context: rows that share completions in the replay buffer."""
    first: dict[tuple[str, Context], int] = {}
    known = zip(prompts.texts, prompts.contexts, strict=True)
    return [first.setdefault((str(text), context), row) for row, (text, context) in enumerate(known)]
