"""Sample completions for a fixed set of prompts, each from random numbers of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from copg_core.budget import UNLIMITED, TokenBudget, TooLarge, is_out_of_memory
from copg_core.layout import micro_batches
from copg_core.policies import Policy
from copg_core.processes import Processes
from copg_core.sharding import is_sharded


@dataclass(frozen=True)
class Completion:
    """Sampled token ids, the end token included where the completion has `finished`."""

    ids: list[int]
    finished: bool


class _OwnRandomNumbers(LogitsProcessor):
    """Replace the logits of each row by the certain choice of the token that its own uniform number picks.

    Inverse-transform sampling in float64: the completion of a prompt depends on its seed and its logits, not on the
    other prompts of the batch, and two policies that are alike write alike completions (common random numbers make
    the comparison of runs sharper). Temperature 0 is the most probable token.
    """

    def __init__(self, uniform: Tensor, prompt_length: int, temperature: float) -> None:
        self._uniform, self._prompt_length, self._temperature = uniform, prompt_length, temperature

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if self._temperature == 0:
            choice = scores.argmax(-1, keepdim=True)
        else:
            position = input_ids.shape[1] - self._prompt_length
            cumulative = (scores.double() / self._temperature).softmax(-1).cumsum(-1)
            threshold = self._uniform[:, position, None] * cumulative[:, -1:]
            choice = torch.searchsorted(cumulative, threshold, right=True).clamp_(max=scores.shape[1] - 1)
        return torch.full_like(scores, -torch.inf).scatter_(1, choice, 0.0)


def uniform_numbers(seed: int, streams: Sequence[tuple[int, ...]], tokens: int) -> np.ndarray:
    """(streams, tokens) in [0, 1): a pure function of the seed and each stream's name.

    Evaluations name a stream (step, prompt). NumPy reads missing numbers as zeros: (step, prompt, 0) is the same stream.
    """
    return np.stack([np.random.default_rng((seed, *stream)).random(tokens) for stream in streams])


@torch.no_grad()
def generate(
    policy: Policy,
    model: Any,
    prompts: Sequence[list[int]],
    *,
    max_new_tokens: int,
    temperature: float,
    batch_size: int,
    seed: int,
    streams: Sequence[tuple[int, ...]],
    device: torch.device,
    between: Callable[[int, int], None] | None = None,
    processes: Processes | None = None,
    budget: TokenBudget | None = None,
) -> list[Completion]:
    """One completion for each encoded prompt, in the order of the prompts, each from the random numbers of its stream.

    Several processes divide the batches among them, and all get all completions: the same ones as from one process.

    Prompts of similar length go together, padded on the LEFT with the mask from which transformers derives the right
    position ids. `between(done, total)` is called after each batch; what it raises ends the work. A batch for which memory
    is too small is halved in `budget`, whose tokens are prompts times (longest prompt + max_new_tokens). Raises
    MemoryLimitError where a single prompt does not fit, in all processes alike; of a sharded layer only in the one that
    failed, for the others wait in its middle.
    """
    processes = processes or Processes(device)
    budget = budget or TokenBudget(UNLIMITED)
    sharded = any(map(is_sharded, model.parameters()))
    budget.tokens = min(processes.gather(budget.tokens))  # all must cut the prompts in the same way
    lengths = [len(prompt) + max_new_tokens for prompt in prompts]
    order = sorted(range(len(prompts)), key=lambda i: (lengths[i], i))
    groups = [
        part
        for first in range(0, len(order), batch_size)
        for part in micro_batches(lengths, order[first : first + batch_size], budget.tokens)
    ]
    waiting = processes.share(groups)
    if sharded:  # its layers wait for everyone: who has nothing left writes something again, as long as others write
        waiting += groups[:1] * (-(-len(groups) // processes.count) - len(waiting))

    def write(group: Sequence[int]) -> list[list[int]]:
        width = max(len(prompts[i]) for i in group)
        ids = torch.full((len(group), width), policy.pad, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, i in enumerate(group):
            ids[row, width - len(prompts[i]) :] = torch.tensor(prompts[i])
            mask[row, width - len(prompts[i]) :] = 1
        uniform = torch.from_numpy(uniform_numbers(seed, [streams[i] for i in group], max_new_tokens)).to(device)
        written: list[list[int]] = model.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            generation_config=GenerationConfig(
                do_sample=False,
                max_new_tokens=max_new_tokens,
                eos_token_id=sorted(policy.end_ids),
                pad_token_id=policy.pad,
            ),
            logits_processor=LogitsProcessorList([_OwnRandomNumbers(uniform, width, temperature)]),
            synced_gpus=sharded,
        )[:, width:].tolist()
        return written

    def write_all() -> tuple[dict[int, Completion], list[TooLarge]]:
        left, found, failures = waiting, dict[int, Completion](), list[TooLarge]()
        while left:
            group, written = left.pop(0), None
            try:
                written = write(group)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            if written is None:
                failures.append(TooLarge(len(group), len(group) * max(lengths[i] for i in group)))
                budget.shrink("generation", failures[-1:])
                left = [part for one in (group, *left) for part in micro_batches(lengths, one, budget.tokens)]
                continue
            found |= {i: _cut(tokens, policy.end_ids) for i, tokens in zip(group, written, strict=True)}
            if between:
                between(min(len(found) * processes.count, len(order)), len(order))
        return found, failures

    # Whoever fails tells the others, which wait here; in the middle of a sharded layer they could not listen.
    parts = processes.gather(write_all()) if sharded else processes.gather_computed(write_all)
    everything: dict[int, Completion] = {}
    for rank, (part, other) in enumerate(parts):
        everything |= part
        if rank != processes.rank:
            budget.learn("generation", other)
    return [everything[i] for i in range(len(prompts))]


def _cut(tokens: list[int], ends: frozenset[int]) -> Completion:
    for position, token in enumerate(tokens):
        if token in ends:
            return Completion(tokens[: position + 1], finished=True)
    return Completion(tokens, finished=False)
