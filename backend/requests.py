"""Around every request: its id, its line in the log, its time in the histogram. The outermost ASGI middleware."""

from __future__ import annotations

import itertools
import logging
import re
import secrets
import time
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend import logs
from backend.telemetry import REQUEST_SECONDS

_log = logging.getLogger(__name__)
API = "/api/v1"
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_GIVEN = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PROCESS, _NUMBER = (
    secrets.token_hex(8),
    itertools.count(),
)  # hundreds of requests a second need no randomness of their own
OTHER = "other"
"""Stands for everything that no route answered: the page's files, refusals, addresses at which nothing is."""


class Requests:
    """Takes the caller's X-Request-ID where it is a short plain word, makes one otherwise, and sends it back."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        name = given if _GIVEN.fullmatch(given) else f"{_PROCESS}{next(_NUMBER):016x}"
        begin = time.perf_counter()
        status: int | None = None

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start" and status is None:
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = name
                _note(scope, status, time.perf_counter() - begin)
            await send(message)

        logs.enter(request=name)  # not only inside: what goes wrong here is logged further out
        try:
            await self._app(scope, receive, sending)
        except Exception:
            if status is None:
                _note(scope, 500, time.perf_counter() - begin)
            raise


def _note(scope: Scope, status: int, seconds: float) -> None:
    method = scope["method"] if scope["method"] in _METHODS else "other"
    REQUEST_SECONDS.labels(method, template(scope), f"{status // 100}xx").observe(seconds)
    fields = {"method": method, "path": scope["path"], "status": status, "seconds": round(seconds, 4)}
    _log.info("%s %s %d", method, scope["path"], status, extra={"fields": fields})


def template(scope: Scope) -> str:
    """The template of the route that answered, `/api/v1/runs/{run_id}`; one word for everything else."""
    route: Any = scope.get("route")
    path = str(getattr(route, "path", ""))  # of an included router it lacks the prefix
    if not path:
        return OTHER
    return f"{API}{path}" if scope["path"].startswith(f"{API}/") and not path.startswith(API) else path
