"""Says who somebody is: by a token, by the cookie of a browser session, or, while no token is in force, by being local.

Everything here asks the database and may be called from any thread; the gate calls it outside of the event loop.
"""

from __future__ import annotations

import hmac
import logging
import math
import time
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from backend import browser_sessions, tokens
from backend.database import Database
from backend.origins import Origins
from backend.scopes import Scope
from backend.settings import Settings
from backend.throttle import Throttle
from backend.who import Principal

log = logging.getLogger(__name__)

ADMIN_NAME = "admin"
"""Name in histories of whoever comes with the token of the settings (COPG_ADMIN_TOKEN)."""
_FORCE_SECONDS = 1.0  # how long it may take until a token that another process made is demanded here
NO_TOKEN = (
    "other machines may only come in with a token, and there is none: make one with `copg tokens create NAME --scope admin` "
    "(with the same COPG_DATA_DIR or --data-dir), or give one in a file that COPG_ADMIN_TOKEN_FILE names; then start again"
)


CHALLENGE = {"WWW-Authenticate": 'Bearer realm="CoPG Studio"'}


class Refused(Exception):  # noqa: N818 - reads as what happens
    """The request goes no further."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers or {}


@dataclass(frozen=True)
class Login:
    """A token that was recognised, with what a session of it needs to know."""

    principal: Principal
    hash: str


class Doorkeeper:
    """One for each application."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings, self._database = settings, database
        self._throttle = Throttle()
        self._admin_hash = tokens.digest(settings.admin_token) if settings.admin_token else None
        self._always = settings.access == "token" or Origins(settings).beyond_this_machine or bool(self._admin_hash)
        self._force = (False, -_FORCE_SECONDS)  # what was found last, and when

    @property
    def needs_token(self) -> bool:
        """Whether the settings demand a token, whatever the database holds."""
        return self._always

    def check_start(self) -> None:
        """Raise ValueError where a token is demanded and nobody could have one."""
        if not self._always or self._admin_hash is not None:
            return
        with self._database.snapshot() as session:
            if not tokens.usable(session):
                raise ValueError(NO_TOKEN)

    def known_demand(self) -> bool | None:
        """Whether everybody needs a token, where that is known without asking the database; else None."""
        if self._always:
            return True
        found, at = self._force
        return None if time.monotonic() - at > _FORCE_SECONDS else found

    def demands_token(self) -> bool:
        """Whether everybody needs a token now."""
        known = self.known_demand()
        if known is None:
            with self._database.snapshot() as session:
                known = tokens.in_force(session)
            self._force = (known, time.monotonic())
        return known

    def forget(self) -> None:
        """A token was made or revoked here: look again at the next request."""
        self._force = (False, -_FORCE_SECONDS)

    def admit(self, text: str, address: str) -> Login:
        """Recognise a token from an address. Raises Refused, with 429 where that address has guessed too often."""
        seen = tokens.digest(text)
        wait = self._throttle.wait(address, seen)
        if not wait:
            login = self.by_token(text)
            if login is not None:
                self._throttle.succeeded(address, seen)
                return login
            log.warning("a wrong token from %s", address or "a local socket")
            wait = self._throttle.failed(address)
        if wait:
            seconds = str(math.ceil(wait))
            raise Refused(429, f"too many wrong tokens: wait {seconds} s", {"Retry-After": seconds})
        raise Refused(401, "this token is not valid: it is mistyped, revoked or expired", CHALLENGE)

    def by_token(self, text: str) -> Login | None:
        """Who carries this token; None where it is not valid."""
        digest = tokens.digest(text)
        if self._admin_hash is not None and hmac.compare_digest(digest, self._admin_hash):
            return Login(Principal("token", ADMIN_NAME, Scope.ADMIN), digest)
        with self._database.snapshot() as session:
            known = tokens.recognise(session, text)
        if known is None:
            return None
        if tokens.stale(known):
            with suppress(SQLAlchemyError), self._database.transaction() as session:  # a busy database locks nobody out
                tokens.note_use(session, known.id)
        return Login(Principal("token", known.name, known.scope, known.id), known.hash)

    def by_cookie(self, secret: str) -> tuple[Principal, bool] | None:
        """Whose browser this is, and whether its cookie is to be set anew, which gives it more time."""
        with self._database.snapshot() as session:
            found = browser_sessions.find(session, secret, self._admin_hash, ADMIN_NAME)
        if found is None:
            return None
        renewed = False
        if found.renew:
            with suppress(SQLAlchemyError), self._database.transaction() as session:
                browser_sessions.renew(session, found.id)
                renewed = True
        return Principal("session", found.name, found.scope, found.token_id, found.expires_at), renewed

    def open_session(self, login: Login) -> str:
        """Log a browser in; returns what its cookie holds."""
        with self._database.transaction() as session:
            return browser_sessions.begin(session, login.principal.token_id, login.hash)

    def close_session(self, secret: str) -> None:
        """Log a browser out."""
        with self._database.transaction() as session:
            browser_sessions.end(session, secret)
