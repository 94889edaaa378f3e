"""The command line's way to a studio: its REST API, with errors as sentences."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any, BinaryIO

import click
import httpx

_PATIENCE_SECONDS = 120.0  # of `get_patiently`: a restart of the studio, or of its database


class Studio:
    """A running studio at `server`, entered with `token` where it asks for one. Every failure is a
    click.ClickException: one line, no traceback."""

    def __init__(self, server: str, token: str | None = None) -> None:
        self._server = server.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            self._client = httpx.Client(base_url=f"{self._server}/api/v1", timeout=30, headers=headers)
        except (httpx.InvalidURL, ValueError, UnicodeError) as error:
            raise click.ClickException(f"{server!r} with this token is no address of a studio: {error}") from error

    def __enter__(self) -> Studio:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str, **query: Any) -> Any:
        return self._send("GET", path, params={name: value for name, value in query.items() if value is not None})

    def get_patiently(self, path: str, **query: Any) -> Any:
        """The same, for whoever waits: a studio that is away is asked again for two minutes."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return self.get(path, **query)
            except _Away:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)

    def post(self, path: str, body: Any = None, *, key: str | None = None) -> Any:
        """`key`: an Idempotency-Key, so that whoever is not sure whether it arrived may send it again."""
        headers = {"Idempotency-Key": key} if key else {}
        return self._send("POST", path, json=body, headers=headers)

    def create(self, path: str, body: Any, key: str | None = None) -> Any:
        """POST something new. Where the answer gets lost on its way, it is asked for again and not made twice."""
        key = key or uuid.uuid4().hex
        try:
            return self.post(path, body, key=key)
        except _Away as error:
            if not error.sent:
                raise
            time.sleep(1)
            return self.post(path, body, key=key)

    def delete(self, path: str) -> None:
        self._send("DELETE", path)

    def pages(self, path: str, limit: int | None = None, **query: Any) -> Iterator[dict[str, Any]]:
        """The items of a list, page by page; at most `limit` of them."""
        left = limit
        while left is None or left > 0:
            answer = self.get(path, limit=min(left or 500, 500), **query)
            yield from answer["items"]
            left = None if left is None else left - len(answer["items"])
            query["cursor"] = answer.get("next_cursor")
            if query["cursor"] is None:
                return

    def download(self, path: str, target: BinaryIO, **query: Any) -> None:
        """Write the body of an answer to `target` as it comes."""
        try:
            with self._client.stream("GET", path, params=query, timeout=httpx.Timeout(30, read=300)) as answer:
                if answer.is_error:
                    answer.read()
                    self._body(answer)
                target.writelines(answer.iter_bytes())
        except httpx.TransportError as error:
            raise click.ClickException(f"the download broke off ({error}): ask for it again") from error

    def page(self, path: str) -> str:
        """Where a person sees it."""
        return f"{self._server}/{path}"

    def _send(self, method: str, path: str, **options: Any) -> Any:
        try:
            answer = self._client.request(method, path, **options)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise _Away(
                f"no studio answers at {self._server} ({error}): start one with `copg up`, or name it with --server",
                sent=not isinstance(error, httpx.ConnectError | httpx.UnsupportedProtocol | httpx.InvalidURL),
            ) from error
        return self._body(answer)

    def _body(self, answer: httpx.Response) -> Any:
        if answer.status_code == 204:
            return None
        try:
            body = answer.json()
        except ValueError as error:
            raise click.ClickException(f"{self._server} answers, but it is no studio ({answer.status_code})") from error
        if not answer.is_error:
            return body
        if not isinstance(body, dict):
            raise click.ClickException(f"{self._server} answers, but it is no studio ({answer.status_code})")
        lines = [f"{item['field']}: {item['message']}" for item in body.get("errors", [])]
        said = "\n  ".join([body.get("detail") or body.get("title", "refused"), *lines])
        if answer.status_code == 401:
            said += (
                "\n  Give a token with --token or COPG_TOKEN; `copg tokens create` makes one on the studio's machine."
            )
        if answer.status_code == 503:
            raise _Away(said, sent=True)
        raise click.ClickException(said)


class _Away(click.ClickException):
    """Nobody answers just now. `sent`: whether the request may have arrived."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent
