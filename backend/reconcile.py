"""The loop that makes messages dispensable: it takes runs from dead workers, releases children and sends wake-ups.

Any number of processes may run it. Every change is a conditional UPDATE, so two that see the same row do its work once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from backend import claims, dispatch, lineage, sweep_watch
from backend.database import Database
from backend.loops import Loop
from backend.settings import Settings
from backend.telemetry import RECONCILED

_log = logging.getLogger(__name__)
_ONE_STATEMENT = {"55P03", "57014", "40P01"}
"""PostgreSQL's lock timeout, statement timeout and deadlock: they end one statement, and the database answers all others."""
_FIRST_SILENCE, _LONGEST_SILENCE = 60.0, 3600.0


class Reconciler(Loop):
    """`send(uid, queue)` delivers one wake-up and never raises."""

    def __init__(self, database: Database, settings: Settings, send: Callable[[str, str], object]) -> None:
        super().__init__("reconcile", seconds=settings.tick_seconds, patience=10.0)
        self._database = database
        self._settings = settings
        self._send = send
        self._healthy_since: float | None = None
        self._failures = Failures()

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

        Each step is taken whatever happened to the others: one row that cannot be read must not keep dead workers' runs from
        everybody. Only while the database is away none is. Raises SQLAlchemyError then.
        """
        begin = time.monotonic()
        if self._healthy_since is None:
            self._healthy_since = begin
        with self._database.snapshot() as session:
            session.connection()
        whole = True
        if begin - self._healthy_since > self._settings.lease_seconds:
            whole &= self._taken("taking runs from dead workers", self._reap)
        whole &= self._taken("releasing runs that waited", self._release)
        whole &= self._taken("sending wake-ups", self._dispatch)
        whole &= self._taken("judging sweeps", lambda: sweep_watch.look(self._database))
        if whole:
            RECONCILED.set_to_current_time()
        if time.monotonic() - begin > self._settings.lease_seconds / 2:
            self._healthy_since = None

    def _reap(self) -> None:
        with self._database.transaction() as session:
            claims.reap(session, self._settings.backoff)

    def _release(self) -> None:
        with self._database.transaction() as session:
            lineage.release_waiting(session)

    def _dispatch(self) -> None:
        with self._database.transaction() as session:
            hints = dispatch.due_hints(session, self._settings)
        for uid, queue in hints:
            self._send(uid, queue)

    def _taken(self, name: str, act: Callable[[], object]) -> bool:
        try:
            act()
        except Exception as error:
            if is_outage(error):
                raise
            if self._failures.worth_a_line(name, type(error).__name__):
                _log.exception("reconcile: %s failed; each turn tries it again", name)
            return False
        self._failures.forget(name)
        return True


def is_outage(error: Exception) -> bool:
    """Whether the database as a whole is away or stalled, rather than one statement wrong or in somebody's way."""
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    one = getattr(error.orig, "sqlstate", None) in _ONE_STATEMENT
    return error.connection_invalidated or (isinstance(error, OperationalError) and not one)


class Failures:
    """Which failures are worth a line of the log: what fails in each of two turns a second is told at once, then after a minute,
    then after twice as long each time, up to an hour."""

    def __init__(self) -> None:
        self._next: dict[tuple[str, str], tuple[float, float]] = {}

    def worth_a_line(self, name: str, kind: str) -> bool:
        """Whether to tell that `name` failed with an error of this kind."""
        now = time.monotonic()
        due, silence = self._next.get((name, kind), (now, _FIRST_SILENCE))
        if now < due:
            return False
        self._next[name, kind] = (now + silence, min(2 * silence, _LONGEST_SILENCE))
        return True

    def forget(self, name: str) -> None:
        """What succeeded begins anew."""
        self._next = {key: value for key, value in self._next.items() if key[0] != name}
