"""What every answer carries for the browser's sake, and how large a question may be.

The policy of the page allows scripts of our own files alone, and the one short script in its index.html by its hash.
Styles may be inline: the widgets and the figures set them from JavaScript, and a style runs nothing.
"""

from __future__ import annotations

import base64
import hashlib
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 8 * 2**20
"""Of a request's body, unless it is an upload."""
UPLOADS = {("POST", "/api/v1/datasets/upload")}
"""Requests that bring files: their routes count what they write by themselves."""
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_COMMON = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
DATA_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
"""Of what is data and not our page: were it ever shown as a document, it could run nothing."""


def page_policy(html: str) -> str:
    """The Content-Security-Policy of a page of ours: its own files, and the scripts that stand in it by their hash."""
    hashes = (hashlib.sha256(script.encode()).digest() for script in _SCRIPT.findall(html))
    inline = "".join(f" 'sha256-{base64.b64encode(value).decode()}'" for value in hashes)
    return (
        f"default-src 'self'; script-src 'self'{inline}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self'; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    )


class SafeResponses:
    """ASGI middleware: headers that nobody has to think of, and 413 for a body that is too large."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _COMMON.items():
                    headers.setdefault(name, value)
                if message["status"] != 304:  # it would replace the policy of the page that the browser has kept
                    headers.setdefault("content-security-policy", DATA_POLICY)
                if scope["path"].startswith("/api/"):
                    headers.setdefault("cache-control", "no-store")
            await send(message)

        if (scope["method"], scope["path"]) not in UPLOADS:
            receive = _limited(receive, Headers(scope=scope))
        await self._app(scope, receive, sending)


def _limited(receive: Receive, headers: Headers) -> Receive:
    """The same body, with 413 as soon as it is, or says that it will be, too large. Raised where it is read."""
    announced = headers.get("content-length", "")
    seen = int(announced) if announced.isdigit() else 0
    seen = seen if seen > MOST_BYTES else 0  # what is announced and not too large is counted as it comes

    async def receiving() -> Message:
        nonlocal seen
        if seen > MOST_BYTES:
            raise _too_large()
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > MOST_BYTES:
                raise _too_large()
        return message

    return receiving


def _too_large() -> HTTPException:
    return HTTPException(413, f"the body is larger than {MOST_BYTES // 2**20} MiB: send less at once")
