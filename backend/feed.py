"""Watches the database for changed runs and tells every live viewer of this process.

One thread polls for all viewers. A tick costs 3 microseconds while nothing is written (SQLite: `PRAGMA data_version` on
a connection of its own) and one indexed query otherwise (PostgreSQL: each tick): the runs whose `changed_at` is recent
and whose `rev` is not the one that was told last. No broker is involved, no process tells another, so that nothing can
be missed: a writer that commits late is found within `_OVERLAP`, and one that deletes is found by counting.

A viewer holds at most one event for each run, the newest: one that reads slowly sees fewer steps of a run, never a
queue that grows. Beyond `_PENDING` runs it is told to fetch everything again (`resync`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from sqlalchemy import PoolProxiedConnection, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend import views
from backend.database import NOW, Database
from backend.models import TRIAL, Run
from backend.telemetry import VIEWERS

log = logging.getLogger(__name__)

_OVERLAP = 30.0  # seconds; a change is visible at the latest this long after its `changed_at`: statement_timeout
_PENDING = 1000  # runs that may have changed since a viewer last read
_PAUSE = 2.0  # seconds between tries while the database is away
_A_RUN = Run.algorithm != TRIAL

Message = tuple[str, str]
"""Name of the event and its JSON."""

RESYNC: Message = ("resync", "{}")


@lru_cache(maxsize=4096)
def frame(message: Message) -> bytes:
    """The message as it travels. All viewers get the same few messages: each is encoded once."""
    event, data = message
    return f"event: {event}\ndata: {data}\n\n".encode()


class Viewer:
    """One open stream. `async for batch in viewer.batches(15)` ends when the feed stops."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pending: dict[str, Message] = {}
        self._ready = asyncio.Event()
        self._closed = False

    def offer(self, messages: list[tuple[str, Message]]) -> None:
        """Hand over (run, message) pairs from the polling thread."""
        self._call(self._take, messages)

    def close(self) -> None:
        """End the stream, from any thread."""
        self._call(self._end)

    def _call(self, function: Any, *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # the loop is closed: nobody is listening any more
            self._closed = True

    def _take(self, messages: list[tuple[str, Message]]) -> None:
        for key, message in messages:
            self._pending.pop(key, None)  # the newest goes to the end
            self._pending[key] = message
        if len(self._pending) > _PENDING:
            self._pending = {"": RESYNC}
        self._ready.set()

    def _end(self) -> None:
        self._closed = True
        self._ready.set()

    async def batches(self, patience: float) -> AsyncIterator[list[Message]]:
        """Everything new, each time that there is something; an empty list after `patience` seconds without."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ready.wait(), patience)
            self._ready.clear()
            batch, self._pending = self._pending, {}
            if batch or not self._closed:
                yield list(batch.values())
            if self._closed:
                return


class Feed:
    """The poller and its viewers. `start()` and `stop()` belong to the application's lifespan."""

    def __init__(self, database: Database, seconds: float) -> None:
        self._database = database
        self._seconds = seconds
        self._known: dict[int, tuple[str, int]] = {}  # id -> (uid, rev)
        self._revs: dict[str, int] = {}  # the same by uid, for whoever asks from another thread
        self._viewers: set[Viewer] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._gate: PoolProxiedConnection | None = None
        self._version: int | None = None
        self._told = time.monotonic()  # when something changed last, with or without a viewer

    def start(self) -> None:
        """Begin to watch."""
        self._thread = threading.Thread(target=self._watch, name="feed", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching and end every stream."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            viewers, self._viewers = self._viewers, set()
        for viewer in viewers:
            viewer.close()

    def rev(self, uid: str) -> int | None:
        """The newest `rev` of a run that this feed has seen; an older one than the database's for up to a turn of the poller."""
        return self._revs.get(uid)

    @property
    def quiet_seconds(self) -> float:
        """For how long nothing has been told: an answer that was asked for since then misses nothing."""
        return time.monotonic() - self._told

    @contextmanager
    def subscribe(self) -> Iterator[Viewer]:
        """A viewer of everything that changes from now on; to be used inside a running event loop."""
        viewer = Viewer(asyncio.get_running_loop())
        with self._lock:
            self._viewers.add(viewer)
        VIEWERS.inc()
        if self._stopping.is_set():
            viewer.close()
        try:
            yield viewer
        finally:
            VIEWERS.dec()
            with self._lock:
                self._viewers.discard(viewer)

    def _watch(self) -> None:
        primed = False
        away = False
        while not self._stopping.wait(_PAUSE if away else self._seconds if primed else 0):
            try:
                if not primed:
                    self._close_gate()
                    with self._database.snapshot() as session:
                        self._prime(session)
                    self._told = time.monotonic()
                    self._publish([("", RESYNC)])  # what happened before, or while the database was away
                    primed, away = True, False
                elif self._written():
                    self._publish(self._changes())
            except SQLAlchemyError as error:
                if not away:
                    log.warning("live feed: %s; trying again every %g s", getattr(error, "orig", error), _PAUSE)
                primed, away = False, True
            except Exception:
                log.exception("live feed")
                primed, away = False, True
        self._close_gate()

    def _written(self) -> bool:
        """Whether somebody may have committed since the last call. SQLite counts commits of other connections."""
        if self._database.engine.dialect.name != "sqlite":
            return True
        if self._gate is None:
            self._gate = self._database.engine.raw_connection()
        cursor = self._gate.cursor()
        cursor.execute("PRAGMA data_version")
        [version] = cursor.fetchone() or (None,)
        cursor.close()
        if version == self._version:
            return False
        self._version = version
        return True

    def _close_gate(self) -> None:
        if self._gate is not None:
            self._gate.close()
            self._gate = None
        self._version = None

    def _prime(self, session: Session) -> None:
        self._known = {
            id_: (uid, rev) for id_, uid, rev in session.execute(select(Run.id, Run.uid, Run.rev).where(_A_RUN))
        }
        self._revs = dict(self._known.values())

    def _changes(self) -> list[tuple[str, Message]]:
        with self._database.snapshot() as session:
            recent = session.execute(
                select(Run.id, Run.uid, Run.rev).where(_A_RUN, Run.changed_at > NOW - _OVERLAP).order_by(Run.changed_at)
            )
            changed = [row.id for row in recent if self._known.get(row.id) != (row.uid, row.rev)]
            messages: list[tuple[str, Message]] = []
            gone: list[str] = []
            if changed:
                runs = session.scalars(select(Run).where(Run.id.in_(changed)).order_by(Run.changed_at)).all()
                # SQLite gives a deleted run's number again.
                known = ((run, self._known.get(run.id)) for run in runs)
                gone += [before[0] for run, before in known if before and before[0] != run.uid]
                self._known.update({run.id: (run.uid, run.rev) for run in runs})
                self._revs.update({run.uid: run.rev for run in runs})
                if self._viewers:
                    messages = [(view.id, ("run", view.model_dump_json())) for view in views.summaries(session, runs)]
            if session.scalar(select(func.count()).select_from(Run).where(_A_RUN)) != len(self._known):
                # Only take away: a run that was created since the first query is told in the next tick.
                there = set(session.scalars(select(Run.id).where(_A_RUN)))
                gone += [self._known.pop(id_)[0] for id_ in self._known.keys() - there]
        for uid in gone:
            self._revs.pop(uid, None)
        messages += [(uid, ("deleted", json.dumps({"id": uid}))) for uid in gone]
        if changed or gone:
            self._told = time.monotonic()
        return messages

    def _publish(self, messages: list[tuple[str, Message]]) -> None:
        if not messages:
            return
        with self._lock:
            viewers = list(self._viewers)
        for viewer in viewers:
            viewer.offer(messages)
