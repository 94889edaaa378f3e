"""The command line's way to a studio: its REST API, with errors as sentences."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from typing import Any, BinaryIO

import click
import httpx

_PATIENCE_SECONDS = 120.0  # of `get_patiently`: a restart of the studio, or of its database
_PATH = re.compile(r"(/[A-Za-z0-9_-]+)+")  # no dots, which lead elsewhere, and nothing that would have to be quoted
_TOKEN = re.compile(r"[!-~]+")
_KEY = re.compile(r"[!-~]([ -~]*[!-~])?")  # what a header carries unchanged


class Studio:
    """A running studio at `server`, entered with `token` where it asks for one. Every failure is a
    click.ClickException: one line, no traceback."""

    def __init__(self, server: str, token: str | None = None) -> None:
        self._server = server.strip().rstrip("/")
        token = (token or "").strip()  # from a file, with the end of its line
        if token and not _TOKEN.fullmatch(token):  # said without the token: it is a secret
            raise click.UsageError(
                "the token holds spaces or characters that no token has: give it again with --token or COPG_TOKEN, "
                "as `copg tokens create` printed it"
            )
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            self._client = httpx.Client(base_url=f"{self._server}/api/v1", timeout=30, headers=headers)
        except (httpx.InvalidURL, ValueError) as error:
            raise click.UsageError(
                f"--server {server!r} is no address ({error}): give one as in http://127.0.0.1:8000"
            ) from error

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
        if key and not _KEY.fullmatch(key):
            raise click.UsageError(f"--key {key!r} must consist of ASCII characters, without a space at its ends")
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

    def pages(
        self, path: str, limit: int | None = None, *, at_once: int = 500, **query: Any
    ) -> Iterator[dict[str, Any]]:
        """The items of a list, page by page; at most `limit` of them. `at_once`: as many as the route gives."""
        left = limit
        while left is None or left > 0:
            answer = self.get(path, limit=min(left or at_once, at_once), **query)
            yield from answer["items"]
            left = None if left is None else left - len(answer["items"])
            query["cursor"] = answer.get("next_cursor")
            if query["cursor"] is None:
                return

    def download(self, path: str, target: BinaryIO, body: Any = None, /, **query: Any) -> None:
        """Write the body of an answer to `target` as it comes. With a `body` it is asked for by POST."""
        method, sent = ("GET", {}) if body is None else ("POST", {"json": body})
        request = self._request(method, path, params=query, timeout=httpx.Timeout(30, read=300), **sent)
        try:
            answer = self._client.send(request, stream=True)
            try:
                if not answer.is_success:
                    answer.read()
                    self._body(answer)  # raises, but for JSON of a redirect
                    raise click.ClickException(f"{self._server} answers, but it is no studio ({answer.status_code})")
                target.writelines(answer.iter_bytes())
            finally:
                answer.close()
        except httpx.RequestError as error:
            raise click.ClickException(f"the download broke off ({error}): ask for it again") from error

    def page(self, path: str) -> str:
        """Where a person sees it."""
        return f"{self._server}/{path}"

    def _request(self, method: str, path: str, **options: Any) -> httpx.Request:
        """The one place where what a person typed becomes a request."""
        if not _PATH.fullmatch(path):
            raise click.UsageError(
                f"{path!r} names nothing of a studio: ids and names have letters, digits, - and _ only"
            )
        try:
            return self._client.build_request(method, path, **options)
        except UnicodeError as error:
            raise click.UsageError("what you gave holds characters that are no UTF-8 text") from error
        except (TypeError, ValueError, httpx.InvalidURL) as error:
            raise click.UsageError(f"what you gave cannot be sent: {error}") from error

    def _send(self, method: str, path: str, **options: Any) -> Any:
        request = self._request(method, path, **options)
        try:
            answer = self._client.send(request)
        except httpx.RequestError as error:
            raise _Away(
                f"no studio answers at {self._server} ({error}): start one with `copg up`, or name it with --server",
                sent=not isinstance(error, httpx.ConnectError | httpx.UnsupportedProtocol),
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
        said = _sentence(body)
        if answer.status_code == 401:
            said += (
                "\n  Give a token with --token or COPG_TOKEN; `copg tokens create` makes one on the studio's machine."
            )
        if answer.status_code == 503:
            raise _Away(said, sent=True)
        raise click.ClickException(said)


def _sentence(problem: dict[str, Any]) -> str:
    """What a problem document says, each thing once: the detail of one about fields often repeats them."""
    detail, errors = problem.get("detail") or problem.get("title", "refused"), problem.get("errors", [])
    lines = [f"{item['field'] or 'body'}: {item['message']}" for item in errors]
    repeated = bool(lines) and detail in ("; ".join(lines[:5]), errors[0]["message"])
    return "\n  ".join(lines if repeated else [detail, *lines])


class _Away(click.ClickException):
    """Nobody answers just now. `sent`: whether the request may have arrived."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent
