"""Looks at uploaded data, one set after the other: a thread of the web process, the work itself in a process of its own.

The row says what is due (`analysing`); a lease keeps two web processes from reading the same file. Whoever changes how the columns are
understood raises `revision`, and whoever deletes the set or stops the analysis changes its state: the reader notices within a second.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from backend import data_files, data_reader, data_sets
from backend.database import NOW, Database
from backend.loops import Loop
from backend.models_data import Dataset
from backend.settings import Settings
from copg_core.errors import DataError

_log = logging.getLogger(__name__)
_LEASE = 30.0
_TELL_SECONDS = 1.0
MOST_ATTEMPTS = 3
SECONDS = 600.0
"""Longest look at one file; what it saw until then becomes the report, which says so."""


class Analyst(Loop):
    """`wake()` after a commit that left a data set `analysing`. A stop ends the reader that is at work; its data set is taken up
    again at the next start."""

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__("analyst", seconds=5.0, patience=10.0)
        self._database, self._settings = database, settings

    def step(self) -> None:
        while not self._stop.is_set() and self.turn():
            pass

    def turn(self) -> bool:
        """Analyse one data set that is due; False where none is."""
        with self._database.transaction() as session:
            row = session.scalars(
                select(Dataset)
                .where(
                    Dataset.state == data_sets.ANALYSING,
                    Dataset.deleted_at.is_(None),
                    or_(Dataset.lease_until.is_(None), Dataset.lease_until < NOW),
                )
                .order_by(Dataset.id)
                .limit(1)
                .with_for_update(skip_locked=True)
            ).one_or_none()
            if row is None:
                return False
            row.attempts += 1
            row.lease_until = NOW + _LEASE
            row.rows_read = 0
            session.flush()
            session.refresh(row)
        _Look(self._database, self._settings, row, self._stop).run()
        return True


class _Look:
    """One pass over one file."""

    def __init__(self, database: Database, settings: Settings, row: Dataset, stop: threading.Event) -> None:
        self._database, self._settings, self._row, self._stop = database, settings, row, stop
        self._rows = 0
        self._told = time.monotonic()
        self._wanted = True

    def run(self) -> None:
        row = self._row
        if row.attempts > MOST_ATTEMPTS:
            self._settle(data_sets.UNREADABLE, error="reading it was interrupted too often: have it analysed again")
            return
        keys = data_files.keys_path(self._settings, row.uid)
        try:
            keys.parent.mkdir(parents=True, exist_ok=True)
            source = data_files.file_of(row, self._settings)
            report = data_reader.analyse(
                source, keys, seconds=SECONDS, progress=self._progress, should_stop=self._should_stop
            )
        except (data_reader.Unreadable, DataError) as error:
            self._settle(data_sets.UNREADABLE, error=data_files.told_by_name(str(error), row, self._settings))
        except OSError as error:
            self._settle(data_sets.UNREADABLE, error=f"the reader cannot be started or its notes be kept: {error}")
        except data_reader.Stopped:
            if self._wanted:  # the web process stops, not the analysis
                self._write(lease_until=None, attempts=row.attempts - 1)
        else:
            rows = report["rows"] if report["stopped"] is None else None
            self._settle(data_sets.READY, report=report, shape=report["shape"], rows=rows, error=None)

    def _progress(self, rows: int) -> None:
        self._rows = rows

    def _should_stop(self) -> bool:
        if self._stop.is_set() or not self._wanted:
            return True
        if time.monotonic() - self._told > _TELL_SECONDS:
            self._told = time.monotonic()
            try:
                self._wanted = self._write(lease_until=NOW + _LEASE, rows_read=self._rows)
            except SQLAlchemyError as error:
                _log.warning("analyst: the database does not answer: %s", str(error).splitlines()[0])
        return not self._wanted

    def _settle(self, state: str, **values: Any) -> None:
        self._write(state=state, lease_until=None, **values)

    def _write(self, **values: Any) -> bool:
        """Whether the row still wanted this look."""
        row = self._row
        with self._database.transaction() as session:
            changed = session.execute(
                update(Dataset)
                .where(
                    Dataset.id == row.id,
                    Dataset.revision == row.revision,
                    Dataset.state == data_sets.ANALYSING,
                    Dataset.deleted_at.is_(None),
                )
                .values(**values)
                .returning(Dataset.id)
                .execution_options(synchronize_session=False)
            ).first()
        return changed is not None
