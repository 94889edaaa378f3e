"""Who is asking: set for each request before its route runs, read by whatever wants to know.

    runs.create(...)      records `actor()` in the run's history
    places.check(...)     is stricter where `principal()` came in by a token

Outside of a request (a worker, the command line, a test) nobody is asking, and `principal()` is None.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from backend.scopes import Scope


@dataclass(frozen=True)
class Principal:
    """Somebody who was let in. `kind` says how: `open` is a person at this machine while no token is in force."""

    kind: Literal["open", "token", "session"]
    name: str
    scope: Scope
    token_id: int | None = None
    expires_at: float | None = None


OPEN = Principal("open", "user", Scope.ADMIN)

_current: ContextVar[Principal | None] = ContextVar("principal", default=None)


def enter(principal: Principal) -> None:
    """Say who is asking, for the rest of this request."""
    _current.set(principal)


def principal() -> Principal | None:
    """Who is asking, or None outside of a request."""
    return _current.get()


def actor() -> str:
    """The name that a history records: the token's, or `user` where there is none."""
    found = _current.get()
    return found.name if found is not None else "user"
