"""The event stream over a real socket: who may hear it, and for how long."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
import uvicorn

from backend import gate, tokens
from backend.database import Database
from backend.main import create_app
from backend.scopes import Scope
from backend.settings import Settings
from tests.backend.studio_bench import API


@pytest.fixture
def address(settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(gate, "_LOOK_AGAIN_SECONDS", 0.05)
    app = create_app(replace(settings, admin_token="x" * 40))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(30)


def test_an_open_stream_ends_with_its_token(address: str, database: Database) -> None:
    with database.transaction() as session:
        row, text = tokens.create(session, "viewer", Scope.READ)
        uid = row.uid
    client = httpx.Client(timeout=30)
    for how in ("token", "session"):
        headers = {"Authorization": f"Bearer {text}"}
        if how == "session":
            client.post(f"{address}{API}/session", json={"token": text}).raise_for_status()
            headers = {}
        with client.stream("GET", f"{address}{API}/events", headers=headers) as stream:
            assert stream.status_code == 200
            lines = stream.iter_lines()
            assert next(lines) == "event: hello"
            if how == "session":
                with database.transaction() as session:
                    tokens.revoke(session, uid)
                for _ in lines:  # ends by itself: else this waits until the client's patience is over
                    pass
    client.close()


def test_without_a_token_there_is_no_stream(address: str) -> None:
    assert httpx.get(f"{address}{API}/events").status_code == 401
    evil = {"Authorization": f"Bearer {'x' * 40}", "Origin": "https://evil.example"}
    assert httpx.get(f"{address}{API}/events", headers=evil).status_code == 403
