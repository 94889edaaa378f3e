"""The loop that makes messages dispensable: it takes runs from dead workers, releases children and sends wake-ups.

Any number of processes may run it. Every change is a conditional UPDATE, so two that see the same row do its work once.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from backend import claims, dispatch, lineage, sweep_watch
from backend.database import Database
from backend.loops import Loop
from backend.settings import Settings
from backend.telemetry import RECONCILED


class Reconciler(Loop):
    """`send(uid, queue)` delivers one wake-up and never raises."""

    def __init__(self, database: Database, settings: Settings, send: Callable[[str, str], object]) -> None:
        super().__init__("reconcile", seconds=settings.tick_seconds, patience=10.0)
        self._database = database
        self._settings = settings
        self._send = send
        self._healthy_since: float | None = None

    def step(self) -> None:
        try:
            self.turn()
        except SQLAlchemyError:
            self._healthy_since = None
            raise

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
