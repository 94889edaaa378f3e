"""Stands before everything: nothing reaches a route that has not been let in here.

    Host is ours? -> no foreign page's request? -> who is it? -> may they? -> the route, which asks who.principal()

The page's own files and the addresses of scope `public` need nobody to be anyone. A stream that is open is looked at again
twice a minute, so that it ends with its token.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote, urlsplit

import anyio
from fastapi import FastAPI
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend import browser_sessions, who
from backend.doorkeeper import CHALLENGE, Doorkeeper, Refused
from backend.errors import refusal
from backend.origins import Origins
from backend.places import guard_of
from backend.scopes import Scope as Needed
from backend.scopes import needed
from copg_core import places

log = logging.getLogger(__name__)

API = "/api/v1"
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_WATCHED = {f"{API}/events"}  # reads, but goes on reading: a foreign page must not even begin
_LOOK_AGAIN_SECONDS = 30.0


def cookie_name(host: str) -> str:
    """Name of the session's cookie. Browsers share cookies between the ports of a host, so that the name has the port."""
    try:
        port = urlsplit(f"//{host}").port
    except ValueError:
        port = None
    return "copg_session" if port is None else f"copg_session_{port}"


def session_cookie(headers: dict[str, str]) -> str | None:
    """What the session's cookie holds, where there is one."""
    # Not http.cookies, which drops whatever follows a cookie of somebody else's that it does not understand.
    return cookie_parser(headers.get("cookie", "")).get(cookie_name(headers.get("host", ""))) or None


def cookie(name: str, value: str, *, secure: bool) -> str:
    """A Set-Cookie header; an empty value removes the cookie. No script reads it and no other site's request carries it."""
    seconds = int(browser_sessions.IDLE_DAYS * 86_400) if value else 0
    return f"{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict" + ("; Secure" if secure else "")


class Gate:
    """ASGI middleware. `application` tells which addresses are routes and not the page's files."""

    def __init__(self, app: ASGIApp, application: FastAPI, doorkeeper: Doorkeeper, origins: Origins) -> None:
        self._app, self._application = app, application
        self._doorkeeper, self._origins = doorkeeper, origins
        self._strangers = guard_of(doorkeeper.settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # a websocket: there is none here
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            principal, renewed = await self._let_in(scope, headers)
        except Refused as no:
            answer: Any = refusal(scope["path"], no.status, no.detail, headers=no.headers)
            if no.status == 401 and scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
                answer = RedirectResponse(f"/login?next={quote(scope['path'], safe='/')}", 303)
            await answer(scope, receive, send)
            return
        except (OperationalError, PoolTimeout) as error:
            log.error("database: %s", getattr(error, "orig", error))
            busy = "the database cannot be reached or is busy; try again"
            await refusal(scope["path"], 503, busy, headers={"Retry-After": "2"})(scope, receive, send)
            return
        if principal is not None:
            who.enter(principal)
            places.guard.set(self._strangers if principal.kind != "open" else None)
        if renewed is not None:
            send = _with_cookie(send, renewed)
        if principal is not None and principal.kind != "open" and scope["path"] in _WATCHED:
            watched = _Watched(receive, lambda: self._ask(lambda: self._still_valid(headers)))
            await self._app(scope, watched.receive, send)
            if watched.ended:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        await self._app(scope, receive, send)

    # -- the questions, in order

    async def _let_in(self, scope: Scope, headers: dict[str, str]) -> tuple[who.Principal | None, str | None]:
        """Who is asking, or None where that does not matter; and a cookie to set. Raises Refused."""
        path, method = scope["path"], scope["method"]
        peer = scope["client"][0] if scope.get("client") else None
        want = self._wanted(scope)
        host = headers.get("host", "")
        if not self._origins.host_allowed(host, addresses=self._doorkeeper.needs_token):
            raise Refused(403, f"this studio is not known as {host!r}: add that name to COPG_ALLOWED_HOSTS")
        if (method not in SAFE_METHODS or path in _WATCHED) and self._origins.foreign_page(headers):
            raise Refused(403, "this request was sent by the page of another site, which may not do that here")
        if want is Needed.PUBLIC:
            return None, None
        demanded = self._doorkeeper.known_demand()  # a thread for each request would cost more than many of them take
        if demanded is None:
            demanded = await self._ask(self._doorkeeper.demands_token)
        if not demanded:
            if self._origins.is_local(peer, headers):
                return who.OPEN, None
            raise Refused(
                403,
                "this studio is open to its own machine only: make a token there with `copg tokens create NAME` "
                "and send it as `Authorization: Bearer ...`",
            )
        principal, renewed = await self._recognised(scope, headers, peer)
        if principal is None:
            raise Refused(401, "a token is needed: log in, or send `Authorization: Bearer copg_...`", CHALLENGE)
        if not principal.scope.covers(want):
            raise Refused(
                403,
                f"{principal.name!r} may {_may(principal.scope)}, and this needs scope {want}: "
                "ask for a token of that scope",
            )
        return principal, renewed

    def _wanted(self, scope: Scope) -> Needed:
        path: str = scope["path"]
        if path.startswith(f"{API}/"):
            return needed(scope["method"], path.removeprefix(API))
        if path.startswith("/docs-assets/"):
            return Needed.PUBLIC
        routes = self._application.router.routes
        if any(route.matches(scope)[0] is not Match.NONE for route in routes):
            return needed(scope["method"], path)
        return Needed.PUBLIC  # the page's own files: one has to see where to log in

    async def _recognised(
        self, scope: Scope, headers: dict[str, str], peer: str | None
    ) -> tuple[who.Principal | None, str | None]:
        given = headers.get("authorization")
        if given is not None:
            kind, _, text = given.partition(" ")
            if kind.lower() != "bearer" or not text.strip():
                raise Refused(401, "Authorization must be `Bearer copg_...`", CHALLENGE)
            address = self._origins.client(peer, headers)
            login = await self._ask(lambda: self._doorkeeper.admit(text.strip(), address))
            return login.principal, None
        secret = session_cookie(headers)
        if secret is None:
            return None, None
        found = await self._ask(lambda: self._doorkeeper.by_cookie(secret))
        if found is None:
            return None, None
        if scope["method"] not in SAFE_METHODS and not self._origins.own_page(headers):
            raise Refused(
                403,
                "a request with a session's cookie must show that the studio's own page sent it (Origin, Sec-Fetch-Site "
                "or X-CoPG-Request); programs send a token instead",
            )
        if not found[1]:
            return found[0], None
        secure = self._origins.secure(scope["scheme"], peer, headers)
        return found[0], cookie(cookie_name(headers.get("host", "")), secret, secure=secure)

    async def _ask(self, question: Callable[[], Any]) -> Any:
        return await run_in_threadpool(question)

    def _still_valid(self, headers: dict[str, str]) -> bool:
        given, secret = headers.get("authorization", "").partition(" ")[2].strip(), session_cookie(headers)
        try:
            if given:
                return self._doorkeeper.by_token(given) is not None
            return secret is not None and self._doorkeeper.by_cookie(secret) is not None
        except (OperationalError, PoolTimeout):
            return True  # nobody is thrown out because the database is busy


class _Watched:
    """`receive` of a stream that hears of a disconnect when its token or session is no longer valid."""

    def __init__(self, receive: Receive, valid: Callable[[], Awaitable[bool]]) -> None:
        self._receive, self._valid = receive, valid
        self._looked = time.monotonic()
        self.ended = False

    async def receive(self) -> Message:
        while True:
            message: Message | None = None
            with anyio.move_on_after(max(0.01, self._looked + _LOOK_AGAIN_SECONDS - time.monotonic())):
                message = await self._receive()
            if message is not None:
                return message
            self._looked = time.monotonic()
            if not await self._valid():
                self.ended = True
                return {"type": "http.disconnect"}


def _with_cookie(send: Send, value: str) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).append("set-cookie", value)
        await send(message)

    return sending


def _may(scope: Needed) -> str:
    return {Needed.READ: "only look", Needed.LAUNCH: "look and launch"}.get(scope, "do this")
