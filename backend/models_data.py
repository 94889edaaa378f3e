"""SQL tables of data sets: what was registered or uploaded, and which runs read it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Index, Integer, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.models import Base

_BIG = BigInteger().with_variant(Integer, "sqlite")
_PRESENT = text("deleted_at IS NULL")


class Dataset(Base):
    """A data source that somebody registered under a name, or a file that somebody uploaded.

    `state` is `ready`, `analysing` (a pass over the file is due or under way) or `unreadable` (`error` says why). The row of a
    deleted one stays as long as a run refers to it; its name is free again.
    """

    __tablename__ = "dataset"
    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    uid: Mapped[str] = mapped_column(String(32), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    source: Mapped[dict[str, Any]] = mapped_column(JSON)
    shape: Mapped[str] = mapped_column(String(200))
    rows: Mapped[int | None] = mapped_column(BigInteger)
    content_hash: Mapped[str | None] = mapped_column(String(64), index=True)
    created_at: Mapped[float] = mapped_column(Double)

    file_name: Mapped[str | None] = mapped_column(String(120))  # of an upload
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(12), server_default="ready")
    error: Mapped[str | None] = mapped_column(Text)
    report: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    rows_read: Mapped[int] = mapped_column(BigInteger, server_default="0")  # while it is analysed
    revision: Mapped[int] = mapped_column(
        Integer, server_default="0"
    )  # of what is analysed: a reader of an older one stops
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    lease_until: Mapped[float | None] = mapped_column(Double)  # of the process that analyses it
    deleted_at: Mapped[float | None] = mapped_column(Double)
    stored_url: Mapped[str | None] = mapped_column(Text)  # of the file's copy in the store, where there is one

    __table_args__ = (
        Index("uq_dataset_present_name", "name", unique=True, sqlite_where=_PRESENT, postgresql_where=_PRESENT),
    )


class RunData(Base):
    """An uploaded data set that a run reads. `role` is `train` or `validation`."""

    __tablename__ = "run_data"
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), primary_key=True)
    role: Mapped[str] = mapped_column(String(12), primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("dataset.id"), index=True)
