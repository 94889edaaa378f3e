"""Device, mixed precision and processes: everything that the loop asks of accelerate."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import gather_object

from copg_core.config import RunConfig
from copg_core.objectives import Array

SMALL_MODEL = 5_000_000


@contextmanager
def accelerator_for(config: RunConfig) -> Iterator[Accelerator]:
    """Device, mixed precision and processes. Its state is global in accelerate and is given back afterwards."""
    AcceleratorState._reset_state()
    accelerator = Accelerator(mixed_precision="no")
    if accelerator.device.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
    threads = torch.get_num_threads()
    try:
        yield accelerator
    finally:
        torch.set_num_threads(threads)
        accelerator.free_memory()
        AcceleratorState._reset_state()


def limit_threads(parameters: int, device: torch.device) -> None:
    """Compute a small model with one CPU thread, unless OMP_NUM_THREADS says otherwise.

    Its matrices are too small to share: on two busy cores two threads that wait for each other took 4 to 30 times as
    long as one (measured with 0.1 and 0.3 million parameters).
    """
    if device.type == "cpu" and parameters < SMALL_MODEL and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


def sum_over(accelerator: Accelerator, value: float) -> float:
    """Sum of a number over all processes."""
    return float(sum(gather_object([value]))) if accelerator.num_processes > 1 else value


def gather_batch(accelerator: Accelerator, output: Array, order: list[int]) -> tuple[Array, list[int]]:
    """Outputs and row numbers of all processes, so that metrics are averages over the whole batch."""
    if accelerator.num_processes == 1:
        return output, order
    parts = gather_object([(output, order)])
    return np.concatenate([part for part, _ in parts]), [i for _, indices in parts for i in indices]


@contextmanager
def exchanging(accelerator: Accelerator, module: Any, last: bool) -> Iterator[None]:
    """Let processes exchange gradients in the last micro-batch only."""
    if last or accelerator.num_processes == 1:
        yield
    else:
        with accelerator.no_sync(module):
            yield
