"""Writing to a database that may be away for a while: a hiccup of the database never ends a training."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from backend import claims
from backend.database import Database
from backend.recorded import Record
from backend.telemetry import EVENTS_SHIPPED

T = TypeVar("T")
_log = logging.getLogger(__name__)
_REFUSED = (DataError, IntegrityError, OverflowError)  # the last from sqlite3, which SQLAlchemy does not wrap


def attempt(database: Database, work: Callable[[Session], T]) -> tuple[bool, T | None]:
    """Try one transaction: (True, its result), or (False, None) where the database did not take it. Try again later."""
    try:
        with database.transaction() as session:
            return True, work(session)
    except SQLAlchemyError as error:
        _log.warning("the database does not answer, will try again: %s", _first_line(error))
        return False, None


class Shipper:
    """Brings one attempt's events to the database, in order, each at least once; what failed waits here."""

    def __init__(self, database: Database, run_id: int, fence: int, lease_seconds: float) -> None:
        self._database = database
        self._run_id, self._fence, self._lease = run_id, fence, lease_seconds
        self.pending: list[Record] = []
        self._tried: float | None = None  # the first attempt that failed, by this process's clock

    def ship(self) -> bool | None:
        """Renew the lease and send what is pending. Whether the run is to be cancelled; None where the database is away.

        Raises LeaseLost.
        """
        began = time.monotonic()
        try:
            cancelling = self._send(self.pending)
        except _REFUSED:
            return self._ship_singly()
        except SQLAlchemyError as error:
            self._tried = self._tried or began
            _log.warning("%d events wait for the database: %s", len(self.pending), _first_line(error))
            return None
        self.pending, self._tried = [], None
        return cancelling

    @property
    def away_seconds(self) -> float:
        """How long the database has not taken anything; 0 while it does."""
        return 0.0 if self._tried is None else time.monotonic() - self._tried

    def _ship_singly(self) -> bool | None:
        """One event of the batch is refused for what it holds: the others must not wait for it forever."""
        cancelling = None
        while self.pending:
            try:
                cancelling = self._send(self.pending[:1])
                self._tried = None
            except _REFUSED as error:
                _log.error("the database refuses a %s: %s", type(self.pending[0]).__name__, _first_line(error))
            except SQLAlchemyError:
                return None
            del self.pending[0]
        return cancelling

    def _send(self, batch: Sequence[Record]) -> bool:
        with self._database.transaction() as session:
            cancelling = claims.renew(session, self._run_id, self._fence, self._lease, batch)
        EVENTS_SHIPPED.inc(len(batch))
        return cancelling

    def cancelling(self) -> bool | None:
        """Only look whether the run is to be cancelled; takes no lock. None where the database is away."""
        try:
            with self._database.snapshot() as session:
                return claims.is_cancelling(session, self._run_id, self._fence)
        except SQLAlchemyError:
            return None


def _first_line(error: BaseException) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return f"{type(cause).__name__}: {str(cause).splitlines()[0] if str(cause) else ''}"
