"""Every answer carries the request's id, and everything that is logged meanwhile carries it, too."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from backend import logs
from tests.backend.studio_bench import API, Bench


class _Seen(logging.Handler):
    """Records with the request's id that was in force when they were made."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.found: list[tuple[str | None, logging.LogRecord]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append((logs.field("request"), record))


@pytest.fixture
def seen(bench: Bench) -> Any:
    handler, logger = _Seen(), logging.getLogger("backend")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.mark.parametrize("path", [f"{API}/runs", f"{API}/runs/nobody", "/nothing", f"{API}/events/x"])
def test_an_id_is_made_for_every_answer(bench: Bench, path: str) -> None:
    first, second = (bench.client.get(path).headers["X-Request-ID"] for _ in range(2))
    assert re.fullmatch(r"[0-9a-f]{32}", first)
    assert first != second


def test_the_callers_id_is_taken_and_returned(bench: Bench, seen: _Seen) -> None:
    answer = bench.client.get(f"{API}/runs/nobody", headers={"X-Request-ID": "trace-7.a_B"})
    assert answer.headers["X-Request-ID"] == "trace-7.a_B"
    [(name, record)] = [(name, record) for name, record in seen.found if record.name == "backend.requests"]
    assert name == "trace-7.a_B"
    assert record.getMessage() == f"GET {API}/runs/nobody 404"
    assert record.fields["status"] == 404  # type: ignore[attr-defined]


@pytest.mark.parametrize("forged", ["", "a b", "x" * 65, 'a","level":"x', "ü"])
def test_an_id_that_could_forge_a_line_is_replaced(bench: Bench, forged: str) -> None:
    answer = bench.client.get(f"{API}/runs", headers={"X-Request-ID": forged.encode("utf-8")})
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-ID"])


def test_what_a_route_logs_and_a_bug_answers_carries_the_id(
    bench: Bench, seen: _Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backend.routes import runs

    def broken(*_: object) -> None:
        logging.getLogger("backend.anything").warning("about to break")
        raise ZeroDivisionError

    monkeypatch.setattr(runs.runs, "get", broken)
    client = TestClient(bench.client.app, raise_server_exceptions=False, client=("127.0.0.1", 1),
                        base_url="http://127.0.0.1")  # fmt: skip
    answer = client.get(f"{API}/runs/abc", headers={"X-Request-ID": "r-500"})
    assert answer.status_code == 500
    assert answer.headers["X-Request-ID"] == "r-500"
    assert {name for name, _ in seen.found} == {"r-500"}
    assert [record.getMessage() for _, record in seen.found] == ["about to break", f"GET {API}/runs/abc 500"]
