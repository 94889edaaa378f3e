"""The command line's way to a studio: its REST API, with errors as sentences."""

from __future__ import annotations

from typing import Any

import click
import httpx


class Studio:
    """A running studio at `server`. Every failure is a click.ClickException: one line, no traceback."""

    def __init__(self, server: str) -> None:
        self._server = server.rstrip("/")
        self._client = httpx.Client(base_url=f"{self._server}/api/v1", timeout=30)

    def get(self, path: str, **query: Any) -> Any:
        return self._send("GET", path, params=query)

    def post(self, path: str, body: Any = None) -> Any:
        return self._send("POST", path, json=body)

    def page(self, uid: str) -> str:
        """Where a person sees the run."""
        return f"{self._server}/runs/{uid}"

    def _send(self, method: str, path: str, **options: Any) -> Any:
        try:
            answer = self._client.request(method, path, **options)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise click.ClickException(
                f"no studio answers at {self._server} ({error}): start one with `copg up`, or name it with --server"
            ) from error
        try:
            body = answer.json()
        except ValueError as error:
            raise click.ClickException(f"{self._server} answers, but it is no studio ({answer.status_code})") from error
        if answer.is_error:
            lines = [f"{item['field']}: {item['message']}" for item in body.get("errors", [])]
            raise click.ClickException("\n  ".join([body.get("detail") or body.get("title", "refused"), *lines]))
        return body
