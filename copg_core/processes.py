"""Devices and processes: everything that a run asks of accelerate, and what processes tell each other."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs

from copg_core.errors import CopgError

T = TypeVar("T")
SMALL_MODEL = 5_000_000
# The others wait this long while the first one computes rewards; a process that dies takes them along at once.
PATIENCE = timedelta(hours=12)


class Processes:
    """The processes of one run, each with a device of its own. What is said of all of them must be called by all."""

    def __init__(self, device: torch.device, rank: int = 0, count: int = 1) -> None:
        self.device, self.rank, self.count = device, rank, count

    @property
    def is_main(self) -> bool:
        """Whether this one speaks for all: it records events and writes files."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """What this process takes of some work: every `count`-th item."""
        return list(items[self.rank :: self.count])

    def gather(self, item: T) -> list[T]:
        """What every process has, in the order of their ranks."""
        if self.count == 1:
            return [item]
        items: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(items, item)
        return items

    def gather_computed(self, compute: Callable[[], T]) -> list[T]:
        """What every process computes, in the order of their ranks. If one fails, all fail with the first one's error."""
        answer: tuple[Any, CopgError | None]
        try:
            answer = (compute(), None)
        except CopgError as error:
            answer = (None, error)
        answers = self.gather(answer)
        for _, failure in answers:
            if failure is not None:
                raise failure
        return [result for result, _ in answers]  # type: ignore[misc]  # without a failure there is a result

    def sum(self, value: float) -> float:
        """Sum of a number over all processes."""
        return sum(self.gather(value))

    def agree(self, flag: bool) -> bool:
        """True for all where it is True for any."""
        return any(self.gather(flag))

    def from_main(self, compute: Callable[[], T]) -> T:
        """Let the main process compute something and give it to all. If it fails, all fail with the same error."""
        if self.count == 1:
            return compute()
        answer: tuple[Any, CopgError | None] = (None, None)
        if self.is_main:
            try:
                answer = (compute(), None)
            except CopgError as error:
                answer = (None, error)
        result, failure = self.gather(answer)[0]
        if failure is not None:
            raise failure
        return result  # type: ignore[no-any-return]

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Add up the gradients of all processes, in place. One that has none (an expert nobody called) adds nothing."""
        if self.count == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        sent = [torch.distributed.all_reduce(parameter.grad, async_op=True) for parameter in parameters]
        for work in sent:
            work.wait()


@contextmanager
def processes_for_run() -> Iterator[Processes]:
    """This process among those that a launcher (`torchrun`, `accelerate launch`) started, or alone.

    accelerate's state is global and is given back afterwards; the connection between processes stays for the next run
    and is closed when Python ends.
    """
    AcceleratorState._reset_state()
    launched = int(os.environ.get("WORLD_SIZE", "1")) > 1
    accelerator = Accelerator(
        # Alone, accelerate finds the device; of several processes without CUDA it must be told.
        cpu=launched and not torch.cuda.is_available(),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)] if launched else [],
    )
    if accelerator.device.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
    if launched:
        atexit.register(_disconnect)
    try:
        with threads_restored():
            yield Processes(accelerator.device, accelerator.process_index, accelerator.num_processes)
    except BaseException:
        # Others may wait for this one in a collective, which NCCL would wait for in turn.
        atexit.unregister(_disconnect)
        raise
    finally:
        accelerator.free_memory()
        AcceleratorState._reset_state()


def _disconnect() -> None:
    """Close the connection while Python still stands: gloo's threads may hold tensors, and one that gives its tensor
    back to an interpreter that is going down aborts a process whose work is done and well."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextmanager
def threads_restored() -> Iterator[None]:
    """Give back the number of CPU threads that there was before: what was small may be followed by something large."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def limit_threads(parameters: int, device: torch.device) -> None:
    """Compute a small model with one CPU thread, unless OMP_NUM_THREADS says otherwise.

    Its matrices are too small to share: on two busy cores two threads that wait for each other took 4 to 30 times as
    long as one (measured with 0.1 and 0.3 million parameters).
    """
    if device.type == "cpu" and parameters < SMALL_MODEL and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
