"""Which checkpoints of a run are kept. Torch-free: the trainer, the worker and the page decide by the same rule."""

from __future__ import annotations

import math
from collections.abc import Mapping

from copg_core.recipe import Checkpoints


def kept(found: Mapping[int, float | None], plan: Checkpoints) -> set[int]:
    """Steps to keep of `found`, which gives each checkpoint's step the reward of the evaluation at that very step.

    The newest `plan.keep`; with `keep_best` the one with the highest reward (the newest of equals); with `keep_every` each
    whose step is a multiple of it.

    >>> sorted(kept({10: 0.1, 20: 0.9, 30: None, 40: 0.4}, Checkpoints(keep=1, keep_best=True, keep_every=30)))
    [20, 30, 40]
    """
    steps = sorted(found)
    chosen = set(steps[-plan.keep :])
    if plan.keep_every:
        chosen |= {step for step in steps if step % plan.keep_every == 0}
    measured = [(reward, step) for step, reward in found.items() if reward is not None and math.isfinite(reward)]
    if plan.keep_best and measured:
        chosen.add(max(measured)[1])
    return chosen
