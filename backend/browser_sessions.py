"""Browsers that have logged in: a cookie holds a random id, the table its hash.

A session slides: it lasts IDLE_DAYS from its last renewal, and MOST_DAYS from its beginning. It ends at once with a log-out,
with its token, or where the admin token of the settings is another one now.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from backend.database import NOW
from backend.models_security import AccessToken, BrowserSession
from backend.scopes import Scope
from backend.tokens import digest

IDLE_DAYS, MOST_DAYS = 7.0, 30.0
_DAY = 86_400.0
_RENEW_SECONDS = 3_600.0  # a session is renewed once an hour at most


@dataclass(frozen=True)
class Opened:
    """A session that is valid now. `renew`: it is time to give it and its cookie more time."""

    id: int
    name: str
    scope: Scope
    token_id: int | None
    expires_at: float
    renew: bool


def begin(session: Session, token_id: int | None, token_hash: str) -> str:
    """Open a session for a token that was recognised; returns what the cookie holds. Old ones are cleared away."""
    session.execute(delete(BrowserSession).where(BrowserSession.expires_at < NOW))
    secret = secrets.token_urlsafe(32)
    session.add(
        BrowserSession(
            secret_hash=digest(secret), token_id=token_id, token_hash=token_hash, created_at=NOW,
            expires_at=NOW + IDLE_DAYS * _DAY,
        )
    )  # fmt: skip
    session.flush()
    return secret


def find(session: Session, secret: str, admin_hash: str | None, admin_name: str) -> Opened | None:
    """The valid session of a cookie. `admin_hash`: of the admin token in the settings, whose sessions have no row."""
    row = session.execute(
        select(
            BrowserSession.id, BrowserSession.token_id, BrowserSession.token_hash, BrowserSession.expires_at,
            (BrowserSession.expires_at - NOW).label("left"), (BrowserSession.created_at - NOW).label("begun"),
            AccessToken.name, AccessToken.scope,
        )
        .outerjoin(AccessToken, AccessToken.id == BrowserSession.token_id)
        .where(
            BrowserSession.secret_hash == digest(secret),
            BrowserSession.expires_at > NOW,
            AccessToken.revoked_at.is_(None),
            or_(AccessToken.expires_at.is_(None), AccessToken.expires_at > NOW),
        )
    ).one_or_none()  # fmt: skip
    if row is None:
        return None
    renew = row.left < min(IDLE_DAYS * _DAY, row.begun + MOST_DAYS * _DAY) - _RENEW_SECONDS
    if row.token_id is not None:
        return Opened(row.id, row.name, Scope(row.scope), row.token_id, row.expires_at, renew)
    if admin_hash is None or not hmac.compare_digest(row.token_hash, admin_hash):
        return None
    return Opened(row.id, admin_name, Scope.ADMIN, None, row.expires_at, renew)


def renew(session: Session, session_id: int) -> None:
    """Let a session last IDLE_DAYS from now, but never longer than MOST_DAYS from its beginning."""
    longest, wanted = BrowserSession.created_at + MOST_DAYS * _DAY, NOW + IDLE_DAYS * _DAY
    least = func.min if session.get_bind().dialect.name == "sqlite" else func.least
    session.execute(
        update(BrowserSession).where(BrowserSession.id == session_id).values(expires_at=least(longest, wanted))
    )


def end(session: Session, secret: str) -> None:
    """Log a browser out."""
    session.execute(delete(BrowserSession).where(BrowserSession.secret_hash == digest(secret)))
