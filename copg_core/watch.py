"""Recognises a run that has diverged, so that it ends with its last good checkpoint instead of going on."""

from __future__ import annotations

import math
from pathlib import Path

from copg_core.checkpoints import latest_checkpoint
from copg_core.errors import DivergenceError
from copg_core.update import Step


class Watch:
    """Looks at each step before its update is applied. Raises DivergenceError saying what was seen and what helps."""

    def __init__(self, checkpoints: Path) -> None:
        self._checkpoints = checkpoints

    def before_update(self, step: int, seen: Step) -> None:
        """`step` counts from 1. A loss or gradient that is not a finite number must not reach the weights."""
        if math.isfinite(seen.loss) and math.isfinite(seen.gradient_norm):
            return
        self._diverged(step, f"the loss is {seen.loss} and the gradient's norm {seen.gradient_norm}")

    def _diverged(self, step: int, what: str) -> None:
        kept = latest_checkpoint(self._checkpoints)
        raise DivergenceError(
            f"training diverged at step {step}: {what}. A smaller learning rate or a larger beta helps. "
            + (f"The last good checkpoint is {kept.name}." if kept else "No checkpoint had been written yet.")
        )
