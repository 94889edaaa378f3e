"""How many tokens one forward pass may have, and what happens when the memory was too small for them.

The rows of an optimizer step, their loss and their gradient do not depend on how they are cut into micro-batches. So an
out-of-memory is no end: the layers' activations are no longer kept if that was left open, then the micro-batch is halved, and
the same batch is computed again. What was learnt holds for the rest of the run, and for a run resumed from its checkpoint.

Completions do not depend on which prompts are written for together, so generation has a budget of the same kind: tokens are
prompts times the width of keys and values at the end. A resumed run learns that one again, for no number depends on it.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from copg_core.errors import MemoryLimitError
from copg_core.events import Report

Note = Callable[[Report], None]
# A budget before memory has ever run out.
UNLIMITED = sys.maxsize
WITH_SHARDS = {
    "generation": "a smaller evaluation.generation.batch_size or sampling.batch_size",
    "training": "a smaller micro_batch_tokens or gradient_checkpointing to on",
    "scoring": "a smaller micro_batch_tokens or gradient_checkpointing to on",
}
WITH_ONE_ROW = {
    "generation": "a smaller max_new_tokens, a shorter max_prompt_tokens",
    "training": 'gradient_checkpointing = "on", shorter max_prompt_tokens and max_completion_tokens',
    "scoring": 'gradient_checkpointing = "on", shorter max_prompt_tokens and max_completion_tokens',
}
SYMPTOMS = ("out of memory", "can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")


@dataclass(frozen=True)
class TooLarge:
    """A micro-batch that did not fit: how many rows, how many tokens with padding."""

    rows: int
    tokens: int


class TokenBudget:
    """The current budget in tokens. `save_memory` is asked first in training; it says whether it had something to give up.

    `recoverable` is False where other processes wait in the middle of a shared computation and cannot start over.
    """

    def __init__(
        self,
        tokens: int,
        note: Note = lambda report: None,
        save_memory: Callable[[], bool] = lambda: False,
        *,
        recoverable: bool = True,
    ) -> None:
        self.tokens, self._note, self.save_memory, self._recoverable = tokens, note, save_memory, recoverable

    def shrink(self, stage: str, failures: Sequence[TooLarge]) -> None:
        """Make room after micro-batches (one of each process that failed) that were too large in a stage of the work.

        Raises MemoryLimitError where there is nothing left to give up.
        """
        release_memory()
        if not self._recoverable:
            raise MemoryLimitError(
                f"memory ran out in {stage} with {failures[0].tokens} tokens at once, and a model that is sharded over processes "
                f"cannot compute a batch again: set {WITH_SHARDS[stage]}, and resume"
            )
        gave_up = stage == "training" and self.save_memory()
        if not gave_up:
            if any(failure.rows == 1 for failure in failures):
                raise MemoryLimitError(
                    f"memory ran out in {stage} with a single row of {max(f.tokens for f in failures)} tokens. What helps: "
                    f'{WITH_ONE_ROW[stage]}, dtype = "bfloat16", LoRA, a smaller model, or more devices with sharding'
                )
            self._halve(failures)
        self._report(stage, failures, gave_up)

    def learn(self, stage: str, failures: Sequence[TooLarge]) -> None:
        """Take over what did not fit in another process, which has made room for itself."""
        for failure in failures:
            self._halve([failure])
            self._report(stage, [failure])

    def _halve(self, failures: Sequence[TooLarge]) -> None:
        self.tokens = min(self.tokens, min(failure.tokens for failure in failures) // 2)

    def _report(self, stage: str, failures: Sequence[TooLarge], gave_up: bool = False) -> None:
        values: dict[str, str | int | float | bool | None] = {
            "stage": stage,
            "tokens_that_did_not_fit": max(failure.tokens for failure in failures),
        }
        if stage == "generation":
            values |= {"generation_tokens": self.tokens}
        else:
            values |= {"micro_batch_tokens": self.tokens, "gradient_checkpointing_switched_on": gave_up}
        self._note(Report(section="out_of_memory", values=values))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whatever device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(symptom in str(error) for symptom in SYMPTOMS)


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turn an out-of-memory that no smaller micro-batch cures into a MemoryLimitError with a sentence."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MemoryLimitError(
            f"the run does not fit into memory ({first}). Where it was writing completions, a smaller "
            "evaluation.generation.batch_size or sampling.batch_size helps; otherwise weights, gradients and Adam's states "
            'are too large: dtype = "bfloat16", LoRA, a smaller model, or more devices with sharding help'
        ) from error


def release_memory() -> None:
    """Give back what dead tensors still hold. Call it outside the except block, whose traceback keeps them alive."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
