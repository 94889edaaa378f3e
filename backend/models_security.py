"""SQL tables of who may come in: access tokens and the browser sessions that were opened with them.

Neither a token nor a session's id is stored, only its SHA-256: both are 256 random bits, so a plain hash tells nothing.
"""

from __future__ import annotations

from sqlalchemy import Double, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from backend.models import _BIG, Base


class AccessToken(Base):
    """A token that somebody carries: `copg_<uid>_<secret>`. It is never deleted, so that a name in a history has an owner."""

    __tablename__ = "access_token"
    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    uid: Mapped[str] = mapped_column(String(12), unique=True)
    name: Mapped[str] = mapped_column(String(80))
    scope: Mapped[str] = mapped_column(String(10))
    secret_hash: Mapped[str] = mapped_column(String(64))  # of the whole token
    created_at: Mapped[float] = mapped_column(Double)
    created_by: Mapped[str] = mapped_column(String(120), server_default="")
    used_at: Mapped[float | None] = mapped_column(Double)  # written at most once a minute
    expires_at: Mapped[float | None] = mapped_column(Double)
    revoked_at: Mapped[float | None] = mapped_column(Double)


class BrowserSession(Base):
    """A browser that has logged in with a token. It ends with the token: in the file of COPG_ADMIN_TOKEN_FILE, or in its row."""

    __tablename__ = "browser_session"
    id: Mapped[int] = mapped_column(_BIG, primary_key=True)
    secret_hash: Mapped[str] = mapped_column(String(64), unique=True)  # of the cookie's value
    token_id: Mapped[int | None] = mapped_column(ForeignKey("access_token.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[float] = mapped_column(Double)
    expires_at: Mapped[float] = mapped_column(Double)
