"""Learning rate and data order as pure functions of the step, so that a resumed run needs no hidden state."""

from __future__ import annotations

import math

import numpy as np

from copg_core.config import RunConfig
from copg_core.recipe import Optimizer


def learning_rate(optimizer: Optimizer, step: int, total_steps: int) -> float:
    """Rate of the update that takes step `step` to `step + 1`, for 0 <= step < total_steps.

    Over the first w = warmup_share * total_steps steps the rate rises linearly, lr * (step + 1) / w, so that the very first
    update already moves; then it stays, or falls as lr * (1 + cos(pi * progress)) / 2 towards zero at the end.

    >>> learning_rate(Optimizer(learning_rate=1.0, warmup_share=0.5), 0, 8)
    0.25
    >>> learning_rate(Optimizer(learning_rate=1.0, warmup_share=0.0, schedule="cosine"), 4, 8)
    0.5
    """
    warmup = optimizer.warmup_share * total_steps
    if step + 1 < warmup:
        return optimizer.learning_rate * (step + 1) / warmup
    if optimizer.schedule == "constant":
        return optimizer.learning_rate
    progress = min(1.0, max(0.0, step - warmup) / max(1.0, total_steps - warmup))
    return optimizer.learning_rate * 0.5 * (1.0 + math.cos(math.pi * progress))


def total_steps(config: RunConfig, rows: int) -> int:
    """Optimizer steps of a run over `rows` rows. The last, partial batch of an epoch is dropped.

    >>> from copg_core.config import SFTConfig
    >>> total_steps(SFTConfig(batch_size=128, epochs=2), rows=1000)
    14
    """
    if config.steps is not None:
        return config.steps
    return max(1, int(config.epochs * batches_per_epoch(rows, config.batch_size)))


def batches_per_epoch(rows: int, batch_size: int) -> int:
    """Whole batches in one pass; fewer rows than a batch make one smaller batch."""
    return max(1, rows // batch_size)


def batch_rows(step: int, rows: int, batch_size: int, seed: int) -> list[int]:
    """Indices of the rows in the batch of `step` (from 0): a new permutation for each epoch, a function of (seed, epoch).

    >>> first_epoch = [row for step in range(4) for row in batch_rows(step, 8, 2, seed=1)]
    >>> sorted(first_epoch)
    [0, 1, 2, 3, 4, 5, 6, 7]
    """
    epoch, position = divmod(step, batches_per_epoch(rows, batch_size))
    order = np.random.default_rng([seed, epoch]).permutation(rows)
    return [int(row) for row in order[position * batch_size : (position + 1) * batch_size]]
