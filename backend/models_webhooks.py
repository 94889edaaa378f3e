"""SQL tables of webhooks: who is told of what, and each message with how its delivery stands."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Index, Integer, String, Text, UniqueConstraint, true
from sqlalchemy.orm import Mapped, mapped_column

from backend.models import Base

_BIG = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only in an INTEGER column


class Webhook(Base):
    """An address that is told of events. The secret is stored as it is: every message is signed with it."""

    __tablename__ = "webhook"
    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    uid: Mapped[str] = mapped_column(String(32), unique=True)
    url: Mapped[str] = mapped_column(Text)
    events: Mapped[list[str]] = mapped_column(JSON)
    secret: Mapped[str] = mapped_column(String(80))
    old_secret: Mapped[str | None] = mapped_column(String(80))  # signs too, until then
    old_secret_until: Mapped[float | None] = mapped_column(Double)
    description: Mapped[str] = mapped_column(Text, server_default="")
    enabled: Mapped[bool] = mapped_column(server_default=true())
    disabled_reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[float] = mapped_column(Double)
    since: Mapped[float] = mapped_column(Double)
    """Since when it is told: what happened before it was made, or while it was disabled, is not its business."""
    read_until: Mapped[float] = mapped_column(Double)
    """Up to when the history of runs was read for it, but for an overlap."""
    accepted_at: Mapped[float | None] = mapped_column(Double)


class Delivery(Base):
    """A message for one webhook. `next_at` is when the next attempt is due; while one is made, when it counts as dead."""

    __tablename__ = "webhook_delivery"
    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    uid: Mapped[str] = mapped_column(String(32), unique=True)
    webhook_id: Mapped[int] = mapped_column(ForeignKey("webhook.id", ondelete="CASCADE"))
    source: Mapped[str] = mapped_column(String(80))
    """What it tells of. One webhook hears of it once, however many processes read the history, and however often."""
    type: Mapped[str] = mapped_column(String(40))
    payload: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(10), server_default="pending")  # pending | delivered | failed
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    fence: Mapped[int] = mapped_column(Integer, server_default="0")  # rises with each attempt, and never falls
    created_at: Mapped[float] = mapped_column(Double)
    next_at: Mapped[float | None] = mapped_column(Double)
    attempted_at: Mapped[float | None] = mapped_column(Double)
    answer_status: Mapped[int | None] = mapped_column(Integer)
    answer: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        UniqueConstraint("webhook_id", "source"),
        Index("ix_webhook_delivery_due", "status", "next_at"),
        Index("ix_webhook_delivery_created_at", "created_at"),
    )
