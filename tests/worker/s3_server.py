"""An S3 server for tests: moto in a process of its own, which knows one key and refuses what it is told to refuse.

    python -m tests.worker.s3_server        prints its port

`PUT /_refuse` with a list of {"method", "contains", "status", "code"} sets what is refused, until the next list.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

KEY_ID = "THEONEKEYTHATISKNOWN"
_UNKNOWN = {"status": "403 Forbidden", "code": "InvalidAccessKeyId"}
_SAID = {
    "InvalidAccessKeyId": "The AWS Access Key Id you provided does not exist in our records.",
    "AccessDenied": "Access Denied",
    "SlowDown": "Please reduce your request rate.",
}


class Refusing:
    """A WSGI application in front of another one."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._rules: list[dict[str, str]] = []

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method, target = environ["REQUEST_METHOD"], f"{environ['PATH_INFO']}?{environ['QUERY_STRING']}"
        if environ["PATH_INFO"] == "/_refuse":
            self._rules = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
            start_response("200 OK", [("Content-Length", "0")])
            return []
        known = f"Credential={KEY_ID}/" in environ.get("HTTP_AUTHORIZATION", "")
        rule = next(
            (one for one in self._rules if one["method"] == method and one["contains"] in target),
            None if known else _UNKNOWN,
        )
        if rule is None:
            return self._application(environ, start_response)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        body = f"<Error><Code>{rule['code']}</Code><Message>{_SAID[rule['code']]}</Message></Error>".encode()
        body = b"" if method == "HEAD" else body
        start_response(rule["status"], [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]


def main() -> None:
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    application = Refusing(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True)
    print(server.server_port, flush=True)  # noqa: T201 - whoever started it reads this line
    server.serve_forever()


if __name__ == "__main__":
    main()
