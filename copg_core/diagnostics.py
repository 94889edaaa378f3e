"""What a run reports about itself: the scalars of each optimizer step and where its time goes. Names: docs/metrics.md."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch

from copg_core.config import RunConfig
from copg_core.errors import ModelError
from copg_core.events import Report
from copg_core.hardware import peak_flops
from copg_core.model_shape import ModelShape, forward_flops, shape_of
from copg_core.objectives import Objective, Table
from copg_core.prepared import Prepared, is_reward_model
from copg_core.update import Step


class Diagnostics:
    """Turns each step into its scalars."""

    def __init__(
        self, config: RunConfig, prepared: Prepared, objective: Objective, device: torch.device, processes: int
    ) -> None:
        self._objective, self._packed = objective, prepared.path.packed
        self._ends = prepared.policy.end_ids
        self._scores = is_reward_model(prepared.module)
        # Frozen matrices have no gradient of their own: with adapters the backward pass is one forward pass, not two.
        self._passes = 2 if config.lora.enabled else 3
        self._peak = _peak(device, config.dtype, processes)
        self._shape = _shape(prepared) if self._peak else None

    def step(self, step: Step, table: Table) -> dict[str, float | None]:
        """Everything that is recorded of a step; None where a value is not a finite number."""
        values: dict[str, float | None] = {
            "loss": step.loss,
            "learning_rate": step.learning_rate,
            "gradient_norm": step.gradient_norm,
            **self._objective.metrics(step.output, table, step.indices),
            "truncated_share": truncated_share(table, step.indices, self._ends),
            "padding_share": 1 - step.tokens / step.positions,
            "tokens_per_second": step.tokens / step.seconds,
            self._objective.rate_name: len(step.indices) / step.seconds,
        }
        if self._peak and self._shape:
            values["flop_utilisation"] = self._flops(self._shape, step, table) / step.seconds / self._peak
        return {name: value if value is not None and math.isfinite(value) else None for name, value in values.items()}

    def _flops(self, shape: ModelShape, step: Step, table: Table) -> float:
        """Of the model, not of the machine: padding and layers that are computed twice to save memory do not count."""
        sequences = len(step.indices) * (1 if self._packed else step.output.shape[1])
        head = 0 if self._scores else table.completion_tokens(step.indices)
        return self._passes * forward_flops(shape, int(step.tokens), head, step.tokens / sequences)


def truncated_share(table: Table, indices: Sequence[int], ends: frozenset[int]) -> float:
    """Share of the completions of these rows that do not end with an end token: they were cut, or never ended."""
    last = [completion[-1] for i in indices for completion in table.rows[i].completions]
    return sum(token not in ends for token in last) / len(last)


def _peak(device: torch.device, dtype: str, processes: int) -> float | None:
    """FLOP/s of all devices together; None on a processor and on a GPU that hardware.py does not know."""
    if device.type != "cuda":
        return None
    peak = peak_flops(torch.cuda.get_device_name(device), dtype)
    return peak * processes if peak else None


def _shape(prepared: Prepared) -> ModelShape | None:
    try:
        return shape_of(prepared.policy.model.config.to_dict())
    except ModelError:
        return None


class TimeSpent:
    """Wall time of each stage of this attempt, and the share of it that evaluations take."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._stage, self._since = "", time.monotonic()

    def enter(self, stage: str) -> None:
        """The stage before ends, this one begins; entering the same one again changes nothing."""
        if stage == self._stage:
            return
        now = time.monotonic()
        if self._stage:
            self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + now - self._since
        self._stage, self._since = stage, now

    def report(self) -> Report:
        """`<stage>_seconds` of every stage so far, and `evaluation_share` of their sum."""
        stage = self._stage
        self.enter("")
        self.enter(stage)
        total = sum(self._seconds.values())
        share = self._seconds.get("evaluating", 0.0) / total if total else 0.0
        values = {f"{name}_seconds": round(seconds, 3) for name, seconds in self._seconds.items()}
        return Report(section="time", values={**values, "evaluation_share": round(share, 4)})
