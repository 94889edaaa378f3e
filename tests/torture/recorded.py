"""What a run recorded, in one shape, whether it comes from the events of a training or from the rows of the database."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.models import Evaluation, Metric, MetricPoint, Run, Sample
from copg_core import events

Recorded = dict[str, dict[str, Any]]
_TIMED = ("per_second", "seconds")  # the only numbers that may differ between two trainings of one configuration


def of_events(seen: Iterable[events.Event]) -> Recorded:
    """From what a training reported."""
    recorded: Recorded = {"points": {}, "evaluations": {}, "samples": {}}
    for event in seen:
        match event:
            case events.Metrics():
                for name, value in event.values.items():
                    _point(recorded, name, event.step, value)
            case events.Evaluation():
                _evaluation(recorded, event, event.values)
                for sample in event.samples:
                    _sample(recorded, event.step, sample)
    return recorded


def of_rows(session: Session, run: Run) -> Recorded:
    """From what the database holds of a run."""
    recorded: Recorded = {"points": {}, "evaluations": {}, "samples": {}}
    points = (
        select(Metric.name, MetricPoint.step, MetricPoint.value)
        .join(Metric, Metric.id == MetricPoint.metric_id)
        .where(MetricPoint.run_id == run.id)
    )
    for name, step, value in session.execute(points):
        _point(recorded, name, step, value)
    for row in session.scalars(select(Evaluation).where(Evaluation.run_id == run.id)):
        _evaluation(recorded, row, row.values)
    for row in session.scalars(select(Sample).where(Sample.run_id == run.id)):
        _sample(recorded, row.step, row)
    return recorded


def _point(recorded: Recorded, name: str, step: int, value: float | None) -> None:
    if not name.endswith(_TIMED):
        recorded["points"][f"{name} at {step}"] = value


def _evaluation(recorded: Recorded, one: Any, values: dict[str, float | None]) -> None:
    columns = ("n", "reward_mean", "reward_stderr", "kl", "length_mean", "unfinished_share", "gold_mean")
    kept = {name: value for name, value in values.items() if not name.endswith(_TIMED)}
    recorded["evaluations"][str(one.step)] = {**kept, **{name: getattr(one, name) for name in columns}}


def _sample(recorded: Recorded, step: int, one: Any) -> None:
    columns = ("prompt", "completion", "reward", "gold", "kl", "length", "finished")
    recorded["samples"][f"{step}, prompt {one.prompt_index}"] = [getattr(one, name) for name in columns]


def weights_hash(output: str | None) -> str:
    """SHA-256 over the weights that a run left; empty where there are none."""
    files = sorted(Path(output).rglob("*.safetensors")) if output else []
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest() if files else ""


def differences(expected: Recorded, found: Recorded) -> list[str]:
    """Sentences on everything that is missing, too many or unequal; numbers are compared with ==."""
    said = []
    for part, rows in expected.items():
        missing, extra = sorted(rows.keys() - found[part].keys()), sorted(found[part].keys() - rows.keys())
        unequal = [key for key in rows.keys() & found[part].keys() if rows[key] != found[part][key]]
        for word, keys in (("missing", missing), ("too many", extra), ("unequal", sorted(unequal))):
            if keys:
                said.append(f"{len(keys)} {part} {word}, for example {keys[0]}")
    return said
