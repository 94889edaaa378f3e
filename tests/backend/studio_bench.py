"""A client of the application with a worker's hands on the same database, and what tests record and expect."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from fastapi.testclient import TestClient
from sqlalchemy import select

from backend import claims
from backend.database import Database
from backend.main import create_app
from backend.models import Run
from backend.recorded import Record
from backend.settings import Settings
from backend.states import RunState
from copg_core import events

LEASE = 60.0
API = "/api/v1"
LOCAL = "http://127.0.0.1:8000"
"""Where a person at the machine finds the studio; under a name that it does not know it would not answer."""
COPG = {"algorithm": "copg", "steps": 100, "reward": {"kind": "gold"}}


@dataclass
class Bench:
    """A client of the application, and a worker's hands on the same database."""

    client: TestClient
    database: Database
    settings: Settings

    def launch(self, **config: Any) -> str:
        """Create a run over the API; returns its id."""
        answer = self.client.post(f"{API}/runs", json={"config": {**COPG, **config}})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def get(self, path: str, **query: Any) -> Any:
        """The JSON at a path that must answer 200."""
        answer = self.client.get(f"{API}{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def claim(self, uid: str, owner: str = "worker") -> claims.Claim:
        with self.database.transaction() as session:
            claim = claims.claim(session, uid, owner, LEASE)
        assert claim is not None
        return claim

    def record(self, claim: claims.Claim, *batch: Record) -> None:
        with self.database.transaction() as session:
            claims.renew(session, claim.run_id, claim.fence, LEASE, batch)

    def finish(self, claim: claims.Claim, target: RunState = RunState.SUCCEEDED, **options: Any) -> None:
        with self.database.transaction() as session:
            claims.finish(session, claim.run_id, claim.fence, target, "test", **options)

    def succeed(self, uid: str, output: str = "/nowhere") -> None:
        """Take a run all the way, as if it had been trained."""
        claim = self.claim(uid)
        self.record(claim, events.Finished(step=100, output=output))
        self.finish(claim)

    def row(self, uid: str) -> Run:
        with self.database.snapshot() as session:
            return session.scalars(select(Run).where(Run.uid == uid)).one()


def evaluation(step: int, *, reward: float | None = 0.5, gold: float | None = 2.0, n: int = 4) -> events.Evaluation:
    """An evaluation with a sample for each of `n` prompts."""
    samples = tuple(
        events.Sample(
            prompt_index=index,
            prompt=f"post {index}",
            completion=f"summary {index} at {step}",
            reward=reward,
            gold=gold,
            kl=0.1,
            length=8,
            finished=index > 0,
        )
        for index in range(n)
    )
    return events.Evaluation(
        step=step,
        n=n,
        reward_mean=reward,
        reward_stderr=0.1,
        kl=0.1 * step,
        length_mean=8.0,
        unfinished_share=1 / n,
        gold_mean=gold,
        values={"gold_stderr": 0.2, "kl_stderr": 0.01},
        samples=samples,
    )


def metrics(*steps: int, **values: float | None) -> list[events.Metrics]:
    """The same values at each step, with a loss that falls."""
    return [events.Metrics(step=step, values={"loss": 1.0 / step, **values}) for step in steps]


def problem(answer: Any, status: int, field: str | None = None) -> dict[str, Any]:
    """Asserts the one shape of errors; returns the document."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert set(document) == {"type", "title", "status", "detail", "instance", "errors"}
    assert document["status"] == status
    assert document["detail"]
    assert document["title"]
    for error in document["errors"]:
        assert set(error) == {"field", "message"}
    if field is not None:
        assert field in [error["field"] for error in document["errors"]], document["errors"]
    return document


@contextmanager
def served(settings: Settings) -> Iterator[str]:
    """The application behind a real server on a free port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(create_app(settings), log_level="error", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while thread.is_alive() and not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
