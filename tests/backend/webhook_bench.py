"""A receiver of webhooks that answers as it is told, and a webhook with runs that move."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sqlalchemy import select, update

from backend import claims, runs, webhooks
from backend.database import NOW, Database
from backend.models_webhooks import Delivery, Webhook
from backend.states import RunState
from copg_core.config import SFTConfig

ENDS = ("run.succeeded", "run.failed", "run.cancelled")


@dataclass
class Receiver:
    """What came in, and what is answered: `answers` one after the other, then 204."""

    url: str = ""
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)
    arrived: threading.Event = field(default_factory=threading.Event)

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.got]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver on a port of its own. `hold` is set: clear it to keep everybody waiting."""
    receiver = Receiver()
    receiver.hold.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.got.append(({key.lower(): value for key, value in self.headers.items()}, body))
            receiver.arrived.set()
            receiver.hold.wait(20)
            status, headers, answer = receiver.answers.pop(0) if receiver.answers else (204, {}, b"")
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook?key=s3cret"
    try:
        yield receiver
    finally:
        receiver.hold.set()
        server.shutdown()
        thread.join()
        server.server_close()


def hook(database: Database, url: str, *events: str) -> Webhook:
    """A webhook in the database; by default told how runs end."""
    with database.transaction() as session:
        return webhooks.create(session, url, events or ENDS, "", private=True)


def made(database: Database) -> str:
    """A queued run."""
    with database.transaction() as session:
        return runs.create(session, SFTConfig()).uid


def finished(database: Database, uid: str, target: RunState = RunState.SUCCEEDED) -> None:
    """The run, trained and ended."""
    with database.transaction() as session:
        claim = claims.claim(session, uid, "worker", 60.0)
    assert claim is not None
    with database.transaction() as session:
        claims.finish(session, claim.run_id, claim.fence, target, "because")


def deliveries(database: Database) -> list[Delivery]:
    with database.snapshot() as session:
        return list(session.scalars(select(Delivery).order_by(Delivery.id)))


def the_hook(database: Database) -> Webhook:
    with database.snapshot() as session:
        return session.scalars(select(Webhook)).one()


def make_due(database: Database) -> None:
    """As if the waits of all that is still to be sent were over, leases too."""
    with database.transaction() as session:
        session.execute(update(Delivery).where(Delivery.status == "pending").values(next_at=NOW - 1))
