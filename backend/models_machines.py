"""SQL tables of the machines that train: their GPUs now and over time, and whether the queue hands out runs at all."""

from __future__ import annotations

from sqlalchemy import BigInteger, Double, ForeignKey, Index, Integer, PrimaryKeyConstraint, String, text
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


class GpuDevice(Base):
    """A GPU whose history is kept, as whoever read it last described it."""

    __tablename__ = "gpu_device"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    uuid: Mapped[str] = mapped_column(String(80), unique=True)
    host: Mapped[str] = mapped_column(String(120))
    index: Mapped[int] = mapped_column("idx", Integer)
    name: Mapped[str] = mapped_column(String(120))
    memory_total: Mapped[int | None] = mapped_column(BigInteger)


class GpuSample(Base):
    """What a GPU did at one heartbeat. `period`: seconds until the next one is due. Clustered by time, by which it is read and
    pruned."""

    __tablename__ = "gpu_sample"
    at: Mapped[float] = mapped_column(Double)
    device_id: Mapped[int] = mapped_column(ForeignKey("gpu_device.id", ondelete="CASCADE"))
    period: Mapped[float] = mapped_column(Double)
    utilisation: Mapped[int | None] = mapped_column(Integer)
    memory_used: Mapped[int | None] = mapped_column(BigInteger)
    __table_args__ = (PrimaryKeyConstraint("at", "device_id"), {"sqlite_with_rowid": False})


class QueueControl(Base):
    """One row, or none where nobody ever paused the queue. `paused_at` is NULL while runs are handed out."""

    __tablename__ = "queue_control"
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    paused_at: Mapped[float | None] = mapped_column(Double)
    paused_by: Mapped[str | None] = mapped_column(String(120))
