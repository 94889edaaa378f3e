"""Tables of sweeps: what was asked for, and which run stands for which combination of settings."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.models import Base

_BIG = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only in an INTEGER column


class Sweep(Base):
    """Runs that were made from one configuration and the values of some of its fields."""

    __tablename__ = "sweep"
    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    uid: Mapped[str] = mapped_column(String(32), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    notes: Mapped[str] = mapped_column(Text, server_default="")
    priority: Mapped[int] = mapped_column(Integer, server_default="0")
    spec: Mapped[dict[str, Any]] = mapped_column(JSON)
    """A SweepSpec as JSON; grows when the sweep is extended."""
    early_stop: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    alpha_spent: Mapped[float] = mapped_column(Double, server_default="0")
    """Levels of all tests that the early stop has made so far, summed: at most its alpha."""
    alpha_before: Mapped[float] = mapped_column(Double, server_default="0")
    """Of that, what was spent when the sweep was last extended."""
    created_at: Mapped[float] = mapped_column(Double)
    deleting_at: Mapped[float | None] = mapped_column(Double)
    """When its deletion last got on; NULL: nobody deletes it."""


class SweepMember(Base):
    """A run of a sweep. What can be told from its configuration alone is kept here, so that a list need not read it."""

    __tablename__ = "sweep_member"
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), primary_key=True)
    sweep_id: Mapped[int] = mapped_column(ForeignKey("sweep.id"))
    position: Mapped[int] = mapped_column(Integer)
    parent: Mapped[str | None] = mapped_column(String(20))
    """`sft` or `reward_model`: made once for the others. NULL: one of the runs that are compared."""
    overrides: Mapped[dict[str, Any]] = mapped_column(JSON)
    config_hash: Mapped[str] = mapped_column(String(64))
    yardstick: Mapped[str] = mapped_column(String(64))
    """Equal for runs whose rewards can be compared: measured by the same reward on the same prompts."""
    variant: Mapped[str | None] = mapped_column(String(80))
    planned_steps: Mapped[int | None] = mapped_column(Integer)
    evaluate_every: Mapped[int] = mapped_column(Integer)
    judged_step: Mapped[int | None] = mapped_column(Integer)
    """The last evaluation that the early stop has looked at."""
    stopped: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """Why the run was stopped early, with the numbers. Such a run is left alone ever after."""

    __table_args__ = (
        UniqueConstraint("sweep_id", "position"),
        UniqueConstraint("sweep_id", "config_hash"),
    )
