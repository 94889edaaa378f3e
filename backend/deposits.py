"""Uploaded files in the store, where machines share no folder: `<store>/datasets/<data set>/<random>/<name>`.

A file arrives in the data folder of the web process that takes it. Where a store is set, a thread of that process copies it there, and a
worker that does not have the file brings it from there by the hash of its content. No two copies ever have the same address, so that a removal
that comes late, and a copy that was torn, never touch one that is registered.
"""

from __future__ import annotations

import logging
import time
import uuid
from contextlib import suppress
from pathlib import Path

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from backend import artifacts
from backend.database import Database
from backend.loops import Loop
from backend.models_data import Dataset
from backend.settings import Settings
from backend.store import File, Interrupted, Store, hash_file, remove
from copg_core.datasets import stored
from copg_core.datasets.files import format_of
from copg_core.sources import StoredFile

_log = logging.getLogger(__name__)
_SECONDS = 5.0
_LONGEST_PAUSE = 600.0


class Depositor(Loop):
    """`wake()` after a commit that brought a file. Without a store there is nothing to do, and no thread."""

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__("deposits", seconds=_SECONDS)
        self._database, self._settings = database, settings
        self._store = Store(settings)
        self._waits: dict[str, tuple[float, int]] = {}  # data set: not before, and how often it was tried

    def start(self) -> None:
        if not self._store.is_local:
            super().start()

    def step(self) -> None:
        self.turn()

    def turn(self) -> int:
        """Bring what is missing in the store, the newest first; how many files. What the store does not take now is tried again later."""
        count = 0
        while not self._stop.is_set() and (row := self._next()) is not None:
            count += self._bring(row)
        return count

    def _next(self) -> Dataset | None:
        missing = or_(
            Dataset.stored_url.is_(None), ~Dataset.stored_url.startswith(f"{self._store.root}/", autoescape=True)
        )
        query = (
            select(Dataset)
            .where(Dataset.file_name.is_not(None), Dataset.deleted_at.is_(None), missing)
            .order_by(Dataset.id.desc())
        )
        with self._database.snapshot() as session:
            rows = list(session.scalars(query))
        self._waits = {row.uid: self._waits[row.uid] for row in rows if row.uid in self._waits}
        now = time.monotonic()
        return next((row for row in rows if self._waits.get(row.uid, (0.0, 0))[0] <= now), None)

    def _later(self, row: Dataset, why: str) -> bool:
        tries = self._waits.get(row.uid, (0.0, 0))[1]
        pause = min(_LONGEST_PAUSE, _SECONDS * 2**tries)
        self._waits[row.uid] = (time.monotonic() + pause, min(tries + 1, 20))
        if why:
            _log.warning("data set %s is not in the store yet, next in %.0f s: %s", row.uid, pause, why)
        return False

    def _bring(self, row: Dataset) -> bool:
        file = StoredFile(sha256=str(row.content_hash), name=str(row.file_name))
        home = f"datasets/{row.uid}/{uuid.uuid4().hex}"
        try:
            path = stored.find(file, self._settings.datasets_path)
            if path is None:
                return self._later(row, "its file is not in this web process's data folder")
            if hash_file(path, self._stop.is_set) != file.sha256:
                return self._later(row, f"{path} is not what was uploaded")
            location, [copy] = self._store.put(path, f"{home}/{file.name}", self._stop.is_set)
            if copy.sha256 == file.sha256 and self._register(row, location):
                return True
        except Interrupted:
            why = ""
        except Exception as error:  # noqa: BLE001 - every driver has its own
            why = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        else:
            why = ""  # deleted, or brought by another process meanwhile
        with suppress(Exception):  # a copy that nothing refers to
            remove(self._store.location(home))
        return self._later(row, why)

    def _register(self, row: Dataset, location: str) -> bool:
        with self._database.transaction() as session:
            kept = session.execute(
                update(Dataset)
                .where(
                    Dataset.id == row.id,
                    Dataset.uid == row.uid,
                    Dataset.deleted_at.is_(None),
                    Dataset.stored_url.is_not_distinct_from(row.stored_url),
                )
                .values(stored_url=location)
                .returning(Dataset.id)
                .execution_options(synchronize_session=False)
            ).first()
            if kept and row.stored_url is not None:  # of an earlier store
                artifacts.to_remove(session, row.uid, [_folder(row.stored_url)])
        return kept is not None


def forget(session: Session, row: Dataset) -> None:
    """With the deletion of a data set: all that stands in the store under its id goes after the commit."""
    if row.stored_url is not None:
        artifacts.to_remove(session, row.uid, [_folder(_folder(row.stored_url))])
    row.stored_url = None


def bring_again(session: Session, row: Dataset) -> None:
    """Have it copied to the store anew, as by somebody who uploads it again because the copy is damaged or gone."""
    if row.stored_url is not None:
        artifacts.to_remove(session, row.uid, [_folder(row.stored_url)])
    row.stored_url = None


def locate(session: Session, file: StoredFile) -> tuple[str, File] | None:
    """Folder and description of a copy with this content, of the same format; None while there is none."""
    rows = session.execute(
        select(Dataset.stored_url, Dataset.bytes, Dataset.file_name).where(
            Dataset.content_hash == file.sha256, Dataset.stored_url.is_not(None), Dataset.deleted_at.is_(None)
        )
    )
    for url, size, given in rows:
        name = str(given)
        if format_of(Path(name)) == format_of(Path(file.name)):
            return _folder(str(url)), File(name, size or 0, file.sha256)
    return None


def _folder(url: str) -> str:
    return url.rpartition("/")[0]
