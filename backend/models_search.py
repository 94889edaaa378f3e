"""Tables that lists are filtered, sorted and searched by, views that somebody kept, and the keys that make requests repeatable.

`run_field` holds every single value of every configuration, clustered by field as in a column store: a filter or an
order reads the values of its field alone, one after the other (decision 20 has what that was measured against).
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Double, ForeignKey, Integer, PrimaryKeyConstraint, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from backend.models import Base


class Field(Base):
    """Dictionary of the paths that values stand at, for example `config.optimizer.learning_rate` or `tags`."""

    __tablename__ = "field"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    path: Mapped[str] = mapped_column(String(200), unique=True)


class RunField(Base):
    """One value of one run: a number, or a text (true and false are texts). A missing value has no row; a list has one
    for each item. Texts are cut off, because an index cannot hold long ones."""

    __tablename__ = "run_field"
    field_id: Mapped[int] = mapped_column(ForeignKey("field.id"), primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), primary_key=True, index=True)
    item: Mapped[int] = mapped_column(Integer, primary_key=True)
    number: Mapped[float | None] = mapped_column(Double)
    text: Mapped[str | None] = mapped_column(Text)
    __table_args__ = (
        PrimaryKeyConstraint("field_id", "run_id", "item", postgresql_include=["number", "text"]),
        {"sqlite_with_rowid": False},
    )


class RunText(Base):
    """What a search looks through: id, name, tags, notes and the texts of the configuration, case folded."""

    __tablename__ = "run_text"
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), primary_key=True)
    text: Mapped[str] = mapped_column(Text)


class IdempotencyKey(Base):
    """What a request with an Idempotency-Key has made, so that it makes it only once."""

    __tablename__ = "idempotency_key"
    scope: Mapped[str] = mapped_column(String(40), primary_key=True)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    request_hash: Mapped[str] = mapped_column(String(64))
    made: Mapped[str] = mapped_column(String(64), server_default="")  # public id of the object
    created_at: Mapped[float] = mapped_column(Double, index=True)


class SavedView(Base):
    """A page as somebody wants to find it again: whatever is chosen on a page stands in its address."""

    __tablename__ = "saved_view"
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    uid: Mapped[str] = mapped_column(String(32), unique=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    address: Mapped[str] = mapped_column(Text)
    created_at: Mapped[float] = mapped_column(Double)
    created_by: Mapped[str] = mapped_column(String(80))
