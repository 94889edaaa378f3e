"""Access tokens: made, listed, revoked, recognised. What a token looks like is told once, when it is made.

copg_<12 hexadecimal digits: its public id>_<43 letters and digits: 256 random bits>
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, exists, or_, select, update
from sqlalchemy.orm import Session

from backend.database import NOW
from backend.models_security import AccessToken, BrowserSession
from backend.scopes import Scope

FORM = re.compile(r"copg_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_USED_SECONDS = 60.0  # `used_at` is that exact, so that a busy token does not write with each request


@dataclass(frozen=True)
class Known:
    """A token that is valid now."""

    id: int
    name: str
    scope: Scope
    hash: str
    unused_for: float | None
    """Seconds since its use was last written down; None where it never was."""


def digest(secret: str) -> str:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def create(
    session: Session, name: str, scope: Scope, *, days: float | None = None, by: str = ""
) -> tuple[AccessToken, str]:
    """A new token and, for the only time, its text. `days`: how long it is valid; None: until it is revoked."""
    uid = secrets.token_hex(6)
    text = f"copg_{uid}_{secrets.token_urlsafe(32)}"
    row = AccessToken(
        uid=uid, name=name, scope=scope.value, secret_hash=digest(text), created_at=NOW, created_by=by,
        expires_at=None if days is None else NOW + days * 86_400,
    )  # fmt: skip
    session.add(row)
    session.flush()
    session.refresh(row)
    return row, text


def find(session: Session, uid: str) -> AccessToken | None:
    """The token with this public id, revoked or not."""
    return session.scalars(select(AccessToken).where(AccessToken.uid == uid)).one_or_none()


def listed(session: Session) -> list[AccessToken]:
    """Every token that was ever made, newest first."""
    return list(session.scalars(select(AccessToken).order_by(AccessToken.id.desc())))


def revoke(session: Session, uid: str) -> AccessToken | None:
    """End a token and the sessions that were opened with it; None where there is none. A second time changes nothing."""
    session.execute(
        update(AccessToken).where(AccessToken.uid == uid, AccessToken.revoked_at.is_(None)).values(revoked_at=NOW)
    )
    row = session.scalars(
        select(AccessToken).where(AccessToken.uid == uid).execution_options(populate_existing=True)
    ).one_or_none()
    if row is not None:
        session.execute(delete(BrowserSession).where(BrowserSession.token_id == row.id))
    return row


def in_force(session: Session) -> bool:
    """Whether a token is demanded: one exists that nobody has revoked. An expired one counts: time opens no door."""
    return bool(session.scalar(select(exists(select(AccessToken.id).where(AccessToken.revoked_at.is_(None))))))


def usable(session: Session) -> bool:
    """Whether there is a token that somebody could come in with now."""
    return bool(session.scalar(select(exists(select(AccessToken.id).where(*_valid())))))


def recognise(session: Session, text: str) -> Known | None:
    """The valid token with this text. Found by its public id; the secret is compared in constant time."""
    form = FORM.fullmatch(text)
    if form is None:
        return None
    row = session.execute(
        select(AccessToken.id, AccessToken.name, AccessToken.scope, AccessToken.secret_hash, NOW - AccessToken.used_at)
        .where(AccessToken.uid == form[1], *_valid())
    ).one_or_none()  # fmt: skip
    stored = row.secret_hash if row is not None else digest("")
    if not hmac.compare_digest(stored, digest(text)) or row is None:
        return None
    return Known(row.id, row.name, Scope(row.scope), row.secret_hash, row[4])


def stale(known: Known) -> bool:
    """Whether the use of a token is to be written down again."""
    return known.unused_for is None or known.unused_for > _USED_SECONDS


def note_use(session: Session, token_id: int) -> None:
    """Write down that a token was used just now."""
    session.execute(update(AccessToken).where(AccessToken.id == token_id).values(used_at=NOW))


def _valid() -> tuple[ColumnElement[bool], ...]:
    return AccessToken.revoked_at.is_(None), or_(AccessToken.expires_at.is_(None), AccessToken.expires_at > NOW)
