"""A sweep is deleted in many short transactions, by the process that was asked or, where that died, by another one.

What cascades from a thousand runs are millions of points: one transaction would keep everybody else from the database.
`sweeps.begin_to_delete` decides about the whole and marks the sweep; from then on nobody takes its runs up or builds on them.
"""

from __future__ import annotations

import logging
import shutil
import time
from contextlib import suppress

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from backend import runs, sweeps
from backend.database import NOW, Database
from backend.errors import NotFound, ProblemError
from backend.loops import Loop
from backend.models_sweeps import Sweep
from backend.run_errors import RunError
from backend.settings import Settings

_log = logging.getLogger(__name__)
_GAP_SECONDS = 0.1
_SILENT_SECONDS = 60.0
"""Longer than any of the short transactions may take: whoever deletes has died, or was kept from the database."""


def go_on(database: Database, settings: Settings, uid: str) -> bool:
    """Delete some runs of a marked sweep with their folders. False where none is left, nor the sweep."""
    begin = time.monotonic()
    gone: list[str] = []
    with database.transaction() as session, suppress(NotFound):  # somebody else deletes it too
        gone = sweeps.delete_some(session, sweeps.get(session, uid, lock=True))
    for run in gone:
        shutil.rmtree(runs.folder(settings, run), ignore_errors=True)
    if gone:
        # Whoever waits for SQLite's write lock looks every tenth of a second: without a gap nobody would find it free.
        time.sleep(min(_GAP_SECONDS, time.monotonic() - begin))
    return bool(gone)


def abandoned(database: Database, silent_seconds: float = _SILENT_SECONDS) -> list[str]:
    """The sweeps whose deletion has begun and does not go on."""
    with database.snapshot() as session:
        query = select(Sweep.uid).where(Sweep.deleting_at < NOW - silent_seconds)
        return list(session.scalars(query.order_by(Sweep.id)))


class Deletions(Loop):
    """A thread beside the reconcile loop, which must not wait for it: finishes what a process that died had begun to delete."""

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__("deletions", seconds=30.0)
        self._database, self._settings = database, settings

    def step(self) -> None:
        for uid in abandoned(self._database):
            _log.info("sweep %s: going on with its deletion", uid)
            try:
                while not self._stop.is_set() and go_on(self._database, self._settings, uid):
                    pass
            except (
                ProblemError,
                RunError,
                SQLAlchemyError,
            ) as error:  # the others must not wait for what keeps this one
                _log.warning("sweep %s: its deletion does not get on: %s", uid, str(error).splitlines()[0])
