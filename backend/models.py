"""SQL tables, the same on SQLite and PostgreSQL. Times are seconds since 1970 by the database's own clock.

A run has two names: `id`, a small integer that keeps metric rows narrow and never leaves the database, and `uid`, the
public one that stands in URLs and JSON as `id`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Double,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Text,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_BIG = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only in an INTEGER column


TRIAL = "trial"
"""`algorithm` of a row that is no run in anybody's list but a prompt for the playground (trials.py), queued like one."""


class Base(DeclarativeBase):
    """Declarative base of every table."""


class Pipeline(Base):
    """Runs that were asked for together, each waiting on its parents."""

    __tablename__ = "pipeline"
    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    uid: Mapped[str] = mapped_column(String(32), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    preset: Mapped[str | None] = mapped_column(String(40))
    size: Mapped[str | None] = mapped_column(String(20))
    created_at: Mapped[float] = mapped_column(Double)


class Run(Base):
    """The row is the job. Only backend/runs.py writes `state` and what goes with it."""

    __tablename__ = "run"
    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    uid: Mapped[str] = mapped_column(String(32), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    notes: Mapped[str] = mapped_column(Text, server_default="")
    algorithm: Mapped[str] = mapped_column(String(20))
    beta: Mapped[float | None] = mapped_column(Double)
    config: Mapped[dict[str, Any]] = mapped_column(JSON)
    pipeline_id: Mapped[int | None] = mapped_column(ForeignKey("pipeline.id"), index=True)
    tags: Mapped[list[str]] = mapped_column(JSON, server_default=text("'[]'"))
    edited: Mapped[int] = mapped_column(Integer, server_default="0")  # how often people changed name, notes, tags, ...
    edits: Mapped[dict[str, int]] = mapped_column(
        JSON, server_default=text("'{}'")
    )  # field: `edited` of its last change

    state: Mapped[str] = mapped_column(String(12))
    queue: Mapped[str] = mapped_column(String(40), server_default="default")
    priority: Mapped[int] = mapped_column(Integer, server_default="0")
    attempt: Mapped[int] = mapped_column(Integer, server_default="0")
    max_attempts: Mapped[int] = mapped_column(Integer, server_default="3")
    fence: Mapped[int] = mapped_column(Integer, server_default="0")
    owner: Mapped[str | None] = mapped_column(String(120))
    lease_until: Mapped[float | None] = mapped_column(Double)
    published_at: Mapped[float | None] = mapped_column(Double)
    not_before: Mapped[float] = mapped_column(Double, server_default="0")
    gpus: Mapped[int | None] = mapped_column(Integer)  # wanted; NULL: one where the worker has any
    max_seconds: Mapped[float | None] = mapped_column(Double)
    claimed_at: Mapped[float | None] = mapped_column(Double)  # of this attempt
    used_seconds: Mapped[float] = mapped_column(Double, server_default="0")  # of max_seconds, by attempts that ended
    head_since: Mapped[float | None] = mapped_column(Double)  # first in its line, and no worker has room
    offered_to: Mapped[str | None] = mapped_column(String(120))  # worker to which the last wake-up went
    reserved_node: Mapped[str | None] = mapped_column(String(120))  # worker that is kept free for it
    config_schema: Mapped[int] = mapped_column(Integer, server_default="1")

    stage: Mapped[str | None] = mapped_column(String(20))
    stage_done: Mapped[int] = mapped_column(Integer, server_default="0")
    stage_total: Mapped[int] = mapped_column(Integer, server_default="0")
    step: Mapped[int] = mapped_column(Integer, server_default="0")
    total_steps: Mapped[int | None] = mapped_column(Integer)
    training_started_at: Mapped[float | None] = mapped_column(
        Double
    )  # of this attempt: the remaining time comes from it
    training_started_step: Mapped[int | None] = mapped_column(Integer)
    last_reward: Mapped[float | None] = mapped_column(Double)
    checkpoint_step: Mapped[int | None] = mapped_column(Integer)
    checkpoint_path: Mapped[str | None] = mapped_column(Text)
    output_path: Mapped[str | None] = mapped_column(Text)
    report: Mapped[dict[str, Any]] = mapped_column(JSON, server_default=text("'{}'"))
    error: Mapped[str | None] = mapped_column(Text)
    error_kind: Mapped[str | None] = mapped_column(String(20))

    rev: Mapped[int] = mapped_column(Integer, server_default="0")  # bumped by every change that a viewer could see
    created_at: Mapped[float] = mapped_column(Double)
    changed_at: Mapped[float] = mapped_column(Double, index=True)
    started_at: Mapped[float | None] = mapped_column(Double)
    finished_at: Mapped[float | None] = mapped_column(Double)

    __table_args__ = (
        Index("ix_run_schedule", "state", "queue", "priority", "created_at"),
        Index("ix_run_created", "created_at"),
        Index("ix_run_algorithm", "algorithm"),
    )


class RunParent(Base):
    """A run waits until its parents have succeeded. `role` says what the parent is for: `policy`, `reward`, or `reward.0` in a weighted sum."""

    __tablename__ = "run_parent"
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), primary_key=True)
    role: Mapped[str] = mapped_column(String(20), primary_key=True)
    parent_id: Mapped[int] = mapped_column(ForeignKey("run.id"), index=True)


class RunEvent(Base):
    """Append-only history: one row for each move of a run."""

    __tablename__ = "run_event"
    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), index=True)
    fence: Mapped[int] = mapped_column(Integer)
    origin: Mapped[str | None] = mapped_column(String(12))
    target: Mapped[str] = mapped_column(String(12))
    devices: Mapped[int | None] = mapped_column(Integer)  # of a move to RUNNING: GPUs that were booked, or one CPU slot
    reason: Mapped[str] = mapped_column(Text, server_default="")
    actor: Mapped[str] = mapped_column(String(120), server_default="")
    at: Mapped[float] = mapped_column(Double, index=True)


class Metric(Base):
    """Dictionary of metric names, so that a point carries two bytes of name."""

    __tablename__ = "metric"
    id: Mapped[int] = mapped_column(SmallInteger().with_variant(Integer, "sqlite"), primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)


class MetricPoint(Base):
    """One scalar of one step. `value` is NULL where it was NaN or infinite. Clustered by its key."""

    __tablename__ = "metric_point"
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), primary_key=True)
    metric_id: Mapped[int] = mapped_column(ForeignKey("metric.id"), primary_key=True)
    step: Mapped[int] = mapped_column(Integer, primary_key=True)
    value: Mapped[float | None] = mapped_column(Double)
    __table_args__ = (
        PrimaryKeyConstraint("run_id", "metric_id", "step", postgresql_include=["value"]),
        {"sqlite_with_rowid": False},
    )


class Evaluation(Base):
    """One pass over the fixed evaluation set; exactly one for each run and step."""

    __tablename__ = "evaluation"
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(Integer, primary_key=True)
    n: Mapped[int] = mapped_column(Integer)
    reward_mean: Mapped[float | None] = mapped_column(Double)
    reward_stderr: Mapped[float | None] = mapped_column(Double)
    kl: Mapped[float | None] = mapped_column(Double)
    length_mean: Mapped[float | None] = mapped_column(Double)
    unfinished_share: Mapped[float | None] = mapped_column(Double)
    gold_mean: Mapped[float | None] = mapped_column(Double)
    values: Mapped[dict[str, float | None]] = mapped_column("extra", JSON, server_default=text("'{}'"))
    recorded_at: Mapped[float] = mapped_column(Double)


class Sample(Base):
    """One sampled completion: what the per-prompt statistics and the samples page are made from."""

    __tablename__ = "sample"
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(Integer, primary_key=True)
    prompt_index: Mapped[int] = mapped_column(Integer, primary_key=True)
    prompt: Mapped[str] = mapped_column(Text)
    completion: Mapped[str] = mapped_column(Text)
    reward: Mapped[float | None] = mapped_column(Double)
    gold: Mapped[float | None] = mapped_column(Double)
    kl: Mapped[float | None] = mapped_column(Double)
    length: Mapped[int] = mapped_column(Integer)
    finished: Mapped[bool]


class Checkpoint(Base):
    """A whole checkpoint on disk, registered under the fence of the attempt that wrote it."""

    __tablename__ = "checkpoint"
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(Integer, primary_key=True)
    fence: Mapped[int] = mapped_column(Integer, primary_key=True)
    path: Mapped[str] = mapped_column(Text)
    bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[float] = mapped_column(Double)
    pinned: Mapped[bool] = mapped_column(server_default=false())  # no retention takes it away


class Node(Base):
    """A worker process that takes runs; `seen` is its last heartbeat."""

    __tablename__ = "node"
    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    name: Mapped[str] = mapped_column(String(120), unique=True)
    host: Mapped[str] = mapped_column(String(120))
    pid: Mapped[int] = mapped_column(Integer)
    queue: Mapped[str] = mapped_column(String(40))
    slots: Mapped[int] = mapped_column(Integer)
    cpu_slots: Mapped[int] = mapped_column(Integer, server_default="0")
    config_schema: Mapped[int] = mapped_column(Integer, server_default="1")
    draining: Mapped[bool] = mapped_column(server_default=false())
    version: Mapped[str] = mapped_column(String(40))
    devices: Mapped[list[dict[str, Any]]] = mapped_column(JSON, server_default=text("'[]'"))
    started_at: Mapped[float] = mapped_column(Double)
    seen: Mapped[float] = mapped_column(Double)
