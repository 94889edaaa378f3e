"""SQL tables of the machines that train: their GPUs, and whether the queue hands out runs at all."""

from __future__ import annotations

from sqlalchemy import BigInteger, Double, ForeignKey, Index, Integer, String, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.models import Base


class Gpu(Base):
    """A GPU of a worker as it last reported it. `run_id` is the run that has it, set by that run's claim.

    Memory is in bytes, `utilisation` in percent. One physical device may be seen by two workers; the unique index lets
    one run alone have it.
    """

    __tablename__ = "gpu"
    node_id: Mapped[int] = mapped_column(ForeignKey("node.id", ondelete="CASCADE"), primary_key=True)
    index: Mapped[int] = mapped_column("idx", Integer, primary_key=True, autoincrement=False)
    uuid: Mapped[str] = mapped_column(String(80))
    name: Mapped[str] = mapped_column(String(120))
    memory_total: Mapped[int | None] = mapped_column(BigInteger)
    memory_used: Mapped[int | None] = mapped_column(BigInteger)
    utilisation: Mapped[int | None] = mapped_column(Integer)
    run_id: Mapped[int | None] = mapped_column(ForeignKey("run.id", ondelete="SET NULL"), index=True)

    __table_args__ = (
        Index(
            "uq_gpu_taken",
            "uuid",
            unique=True,
            sqlite_where=text("run_id IS NOT NULL"),
            postgresql_where=text("run_id IS NOT NULL"),
        ),
    )


class QueueControl(Base):
    """One row, or none where nobody ever paused the queue. `paused_at` is NULL while runs are handed out."""

    __tablename__ = "queue_control"
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    paused_at: Mapped[float | None] = mapped_column(Double)
    paused_by: Mapped[str | None] = mapped_column(String(120))
