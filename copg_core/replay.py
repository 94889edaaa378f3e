"""Completions that the policy wrote, with all that is known about them, and the buffer that keeps the latest."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor


@dataclass(frozen=True)
class Fresh:
    """One completion that the policy wrote.

    prompt     number of its prompt
    step       the optimizer step before which it was written: how old the policy was
    ids        token ids, the end token included where it is `finished`; one that was cut has none
    reward     reward units
    reference  ln pi_ref(y|x), nats, summed
    behaviour  ln mu(y|x) of the policy that wrote it, at the temperature it was written with
    """

    prompt: int
    step: int
    ids: list[int]
    finished: bool
    reward: float
    reference: float
    behaviour: float


class ReplayBuffer:
    """The latest `capacity` completions, by prompt. A completion that enters a full buffer pushes the oldest out."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._order: deque[Fresh] = deque()
        self._of_prompt: dict[int, deque[Fresh]] = {}

    def __len__(self) -> int:
        return len(self._order)

    def add(self, completions: Iterable[Fresh]) -> None:
        for completion in completions:
            self._order.append(completion)
            self._of_prompt.setdefault(completion.prompt, deque()).append(completion)
            if len(self._order) > self._capacity:
                # Both queues are in the order of arrival: the oldest of all is the oldest of its prompt.
                oldest = self._order.popleft()
                self._of_prompt[oldest.prompt].popleft()

    def of(self, prompt: int) -> list[Fresh]:
        """All completions of a prompt that are still here, oldest first."""
        return list(self._of_prompt.get(prompt, ()))

    def age(self, step: int) -> float:
        """Mean number of steps since its completions were written; 0 where it is empty."""
        return sum(step - completion.step for completion in self._order) / max(1, len(self._order))

    def contents(self) -> list[Fresh]:
        """Everything, oldest first: `add` makes the same buffer of it."""
        return list(self._order)


def pack(completions: Sequence[Fresh], name: str) -> dict[str, Tensor]:
    """Completions as tensors for a checkpoint, their keys beginning with `name`."""
    return {
        f"{name}.ids": torch.tensor([token for each in completions for token in each.ids], dtype=torch.int64),
        f"{name}.facts": torch.tensor(
            [(each.prompt, each.step, len(each.ids), each.finished) for each in completions], dtype=torch.int64
        ).reshape(-1, 4),
        f"{name}.numbers": torch.tensor(
            [(each.reward, each.reference, each.behaviour) for each in completions], dtype=torch.float64
        ).reshape(-1, 3),
    }


def unpack(state: dict[str, Tensor], name: str) -> list[Fresh]:
    """What `pack` was given."""
    facts, numbers = state[f"{name}.facts"].tolist(), state[f"{name}.numbers"].tolist()
    tokens = iter(state[f"{name}.ids"].tolist())
    return [
        Fresh(prompt, step, list(islice(tokens, length)), bool(finished), *known)
        for (prompt, step, length, finished), known in zip(facts, numbers, strict=True)
    ]
