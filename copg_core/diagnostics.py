"""The scalars of one optimizer step, by the names of docs/metrics.md."""

from __future__ import annotations

import math

from copg_core.objectives import Objective, Table
from copg_core.update import Step


def step_metrics(step: Step, objective: Objective, table: Table) -> dict[str, float | None]:
    """Everything that is recorded of a step; None where a value is not a finite number."""
    values: dict[str, float | None] = {
        "loss": step.loss,
        "learning_rate": step.learning_rate,
        "gradient_norm": step.gradient_norm,
        **objective.metrics(step.output, table, step.indices),
        "tokens_per_second": step.tokens / step.seconds,
        objective.rate_name: len(step.indices) / step.seconds,
    }
    return {name: value if value is not None and math.isfinite(value) else None for name, value in values.items()}
