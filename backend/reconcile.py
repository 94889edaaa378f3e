"""The loop that makes messages dispensable: it takes runs from dead workers, releases children and sends wake-ups.

Any number of processes may run it. Every change is a conditional UPDATE, so two that see the same row do its work once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from backend import claims, dispatch, lineage, sweep_watch
from backend.database import Database
from backend.settings import Settings
from backend.telemetry import RECONCILED

_log = logging.getLogger(__name__)


class Reconciler:
    """A thread for the API process. `send(uid, queue)` delivers one wake-up and never raises."""

    def __init__(self, database: Database, settings: Settings, send: Callable[[str, str], object]) -> None:
        self._database = database
        self._settings = settings
        self._send = send
        self._healthy_since: float | None = None
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="reconcile", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends after the turn at hand."""
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout=10)

    def wake(self) -> None:
        """Take the next turn now: somebody committed something. Cheap, never blocks."""
        self._wake.set()

    def _loop(self) -> None:
        while not self._stop.is_set():
            try:
                self.turn()
            except SQLAlchemyError as error:
                self._healthy_since = None
                _log.warning("reconcile: the database does not answer: %s", str(error).splitlines()[0])
            except Exception:  # noqa: BLE001 - the loop that heals everything else must not die
                _log.exception("reconcile")
            self._wake.wait(self._settings.tick_seconds)
            self._wake.clear()

    def turn(self) -> None:
        """One pass. Leases are only judged after they could be renewed for one full lease.

        After our own start, and after a stall of the database, leases may be stale through no fault of their owners: a
        five-minute outage must not take every healthy run away from its worker.
        """
        begin = time.monotonic()
        if self._healthy_since is None:
            self._healthy_since = begin
        with self._database.snapshot() as session:
            session.connection()
        if begin - self._healthy_since > self._settings.lease_seconds:
            with self._database.transaction() as session:
                claims.reap(session, self._settings.backoff)
        with self._database.transaction() as session:
            lineage.release_waiting(session)
            hints = dispatch.due_hints(session, self._settings)
        for uid, queue in hints:
            self._send(uid, queue)
        sweep_watch.look(self._database)
        RECONCILED.set_to_current_time()
        if time.monotonic() - begin > self._settings.lease_seconds / 2:
            self._healthy_since = None
