"""What a batch of a worker's events leaves in the database: the run's own columns, and rows of what was measured.

Only `claims.renew` calls this, under the attempt's fencing number; forgetting a checkpoint is also the storage page's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend import artifacts, metrics
from backend.database import NOW
from backend.models import Checkpoint, Evaluation, Run, Sample
from copg_core import events
from copg_core.events import Event

Record = Event | artifacts.Kept | artifacts.Retain


def columns(batch: Sequence[Record]) -> dict[str, Any]:
    """The run's own columns as the batch leaves them."""
    values: dict[str, Any] = {}
    for event in batch:
        match event:
            case events.Stage():
                values |= {"stage": event.name, "stage_done": event.done, "stage_total": event.total}
            case events.Started():
                values |= {
                    "step": event.step, "total_steps": event.total_steps,
                    "training_started_at": NOW, "training_started_step": event.step,
                }  # fmt: skip
            case events.Metrics():
                values["step"] = event.step
            case events.Evaluation():
                if event.reward_mean is not None:
                    values["last_reward"] = event.reward_mean
            case events.CheckpointSaved():
                values |= {"checkpoint_step": event.step, "checkpoint_path": event.path}
            case events.Finished():
                values |= {"step": event.step, "output_path": event.output}
            case events.Failed():
                values |= {"error": event.message, "error_kind": event.kind[:20]}
    return values


def write_rows(session: Session, run_id: int, fence: int, batch: Sequence[Record]) -> None:
    """Points, evaluations with their samples, and checkpoints. Written twice they are the same rows."""
    points: dict[int, dict[str, float | None]] = {}
    for event in batch:
        match event:
            case events.Metrics():
                points.setdefault(event.step, {}).update(event.values)
            case events.Evaluation():
                _write_evaluation(session, run_id, event)
            case events.CheckpointSaved():
                row = {"run_id": run_id, "step": event.step, "fence": fence, "path": event.path, "bytes": event.bytes}
                metrics.upsert(session, Checkpoint.__table__, [row | {"created_at": session.scalar(select(NOW))}],
                               ("run_id", "step", "fence"))  # fmt: skip
            case events.CheckpointRemoved():
                forget_checkpoint(session, run_id, event.path)
    metrics.append(session, run_id, points)


def forget_checkpoint(session: Session, run_id: int, path: str) -> None:
    """Drop a checkpoint. A run whose newest goes (it was written after the run began to diverge) points to the one before."""
    artifacts.forget(session, run_id, path)
    newest = (
        select(Checkpoint.step, Checkpoint.path)
        .where(Checkpoint.run_id == run_id)
        .order_by(Checkpoint.step.desc(), Checkpoint.fence.desc())
        .limit(1)
    )
    step, left = session.execute(newest).one_or_none() or (None, None)
    session.execute(
        update(Run)
        .where(Run.id == run_id, Run.checkpoint_path == path)
        .values(checkpoint_step=step, checkpoint_path=left)
        .execution_options(synchronize_session=False)
    )


def _write_evaluation(session: Session, run_id: int, event: events.Evaluation) -> None:
    row = event.model_dump(exclude={"event", "samples", "values"})
    extra = {"extra": event.values, "run_id": run_id, "recorded_at": session.scalar(select(NOW))}
    metrics.upsert(session, Evaluation.__table__, [row | extra], ("run_id", "step"))
    samples = [sample.model_dump(exclude={"event"}) for sample in event.samples]
    metrics.upsert(session, Sample.__table__, [{"run_id": run_id, "step": event.step, **sample} for sample in samples],
                   ("run_id", "step", "prompt_index"))  # fmt: skip
