"""Serves the built single-page application from backend/page/, where vite puts it."""

from __future__ import annotations

import mimetypes
from functools import lru_cache
from pathlib import Path

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.staticfiles import NotModifiedResponse
from starlette.types import Receive, Scope, Send

from backend.responses import page_policy

_ENCODINGS = {"br": ".br", "gzip": ".gz"}  # best first; the build writes them beside the files
_MISSING = (
    "CoPG Studio's API is running, but the page is not built.\n\n"
    "Build it with `make page` (or `make up`, which does it by itself), then load this address again.\n"
    "The API is at /api/v1, its documentation at /docs.\n"
)
_OURS = ("api/", "docs-assets/")


class Page:
    """An ASGI application for whatever is not a route: files, and index.html for the addresses inside the page."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise HTTPException(404)
        response = self._answer(scope["path"].lstrip("/"), scope["method"], Headers(scope=scope))
        await response(scope, receive, send)

    def _answer(self, path: str, method: str, headers: Headers) -> Response:
        if path.startswith(_OURS) or path == "api":
            raise HTTPException(404)
        if method not in {"GET", "HEAD"}:
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})
        wants_html = "text/html" in headers.get("accept", "")
        if path and (file := self._find(path)):
            return self._file(file, headers, immutable=path.startswith("assets/"))
        if path and not wants_html:
            raise HTTPException(404)
        index = self._folder / "index.html"
        if not index.is_file():
            return PlainTextResponse(_MISSING, 503 if path == "" else 404, headers={"Cache-Control": "no-store"})
        return self._file(index, headers, immutable=False)

    def _find(self, path: str) -> Path | None:
        try:
            file = (self._folder / path).resolve()
            return file if file.is_relative_to(self._folder) and file.is_file() else None
        except (OSError, ValueError):  # longer than a file name may be, or with a NUL in it
            return None

    def _file(self, file: Path, headers: Headers, *, immutable: bool) -> Response:
        """A file, compressed where the build did it and the browser takes it. vite names assets by their content."""
        accepted = {part.split(";")[0].strip() for part in headers.get("accept-encoding", "").split(",")}
        sent, encoding = file, None
        for name, suffix in _ENCODINGS.items():
            compressed = file.with_name(file.name + suffix)
            if name in accepted and compressed.is_file():
                sent, encoding = compressed, name
                break
        response = FileResponse(
            sent,
            stat_result=sent.stat(),
            media_type=mimetypes.guess_type(file.name)[0] or "application/octet-stream",
            headers={
                "Cache-Control": "public, max-age=31536000, immutable" if immutable else "no-cache",
                "Vary": "Accept-Encoding",
                "X-Content-Type-Options": "nosniff",
                "Content-Security-Policy": _policy(self._folder / "index.html", sent.stat().st_mtime_ns),
            },
        )
        if encoding:
            response.headers["Content-Encoding"] = encoding
        if response.headers["etag"] in headers.get("if-none-match", ""):
            return NotModifiedResponse(response.headers)
        return response


@lru_cache(maxsize=64)
def _policy(index: Path, changed: int) -> str:
    """What the page and its workers may do. `changed` only tells one build from the next."""
    return page_policy(index.read_text(encoding="utf-8") if index.is_file() else "")
