"""SQL tables of what runs leave behind: artifacts with their files, and places that are still to be cleared."""

from __future__ import annotations

from sqlalchemy import BigInteger, Double, ForeignKey, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.models import Base

_BIG = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only in an INTEGER column


class Artifact(Base):
    """A checkpoint, an output, a log or a spool: whole, content-hashed, registered under the fence of its attempt."""

    __tablename__ = "artifact"
    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    uid: Mapped[str] = mapped_column(String(32), unique=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), index=True)
    fence: Mapped[int] = mapped_column(Integer)
    kind: Mapped[str] = mapped_column(String(12))
    name: Mapped[str] = mapped_column(String(200))
    step: Mapped[int | None] = mapped_column(Integer)
    url: Mapped[str] = mapped_column(Text)  # of its folder, or of its only file
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))  # of the list of its files' hashes
    created_at: Mapped[float] = mapped_column(Double)
    __table_args__ = (UniqueConstraint("run_id", "kind", "name", "fence"),)


class ArtifactFile(Base):
    """One file of an artifact; `number` names it in addresses, because a name is not to be trusted as a path."""

    __tablename__ = "artifact_file"
    artifact_id: Mapped[int] = mapped_column(ForeignKey("artifact.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(Text)  # relative to the artifact's url; empty where that is the file itself
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))


class Removal(Base):
    """A folder or file that nothing refers to any more. Written with the deletion of its row, cleared after it."""

    __tablename__ = "removal"
    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    run_uid: Mapped[str] = mapped_column(String(32), index=True)
    location: Mapped[str] = mapped_column(Text)
    tries: Mapped[int] = mapped_column(Integer, server_default="0")
    not_before: Mapped[float] = mapped_column(Double)
