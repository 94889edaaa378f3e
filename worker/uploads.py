"""Brings the uploaded files that a run reads to this machine, where its data folder does not have them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from backend import deposits
from backend.database import Database
from backend.settings import Settings
from backend.store import File, Interrupted, Store
from copg_core.datasets import stored
from copg_core.sources import StoredFile, UploadData
from worker.fetch import Fetcher
from worker.persist import attempt

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 1.0


class NotInStore(Exception):  # noqa: N818 - reads as what it is
    """An uploaded file is neither on this machine nor in the store. The message says what to do."""


def files_of(config: BaseModel) -> list[StoredFile]:
    """The uploaded files that a configuration names."""
    source = getattr(config, "data", None)
    if not isinstance(source, UploadData):
        return []
    return [one for one in (source.file, source.validation_file) if one is not None]


def bring(
    config: BaseModel, database: Database, settings: Settings, fetcher: Fetcher, stop: Callable[[], bool]
) -> Path:  # fmt: skip
    """The folder in which all of them stand. Without a store it is the data folder's, whatever is there: the trainer explains.

    Raises NotInStore, Damaged, Interrupted, and whatever the store's driver raises.
    """
    files = files_of(config)
    here = settings.datasets_path
    if Store(settings).is_local or all(stored.find(file, here) for file in files):
        return here
    for file in files:
        here = _fetched(file, database, settings, fetcher, stop)
    return here


def _fetched(
    file: StoredFile, database: Database, settings: Settings, fetcher: Fetcher, stop: Callable[[], bool]
) -> Path:
    gone = None
    while (copy := _copy_of(file, database, settings, stop)) != gone:  # it may stand elsewhere since it was looked up
        found = fetcher.fetch_file(*copy, stop)
        if found is not None:
            return found
        gone = copy
    raise NotInStore(
        f"The copy of the uploaded file {file.name} is gone from the store: upload the same file again, then resume the run."
    )


def _copy_of(
    file: StoredFile, database: Database, settings: Settings, stop: Callable[[], bool]
) -> tuple[str, File]:  # fmt: skip
    """Where its copy stands, once there is one. The patience runs only while the database says that there is none."""
    patience = settings.artifacts_patience_seconds
    waited, told = 0.0, False
    while True:
        began = time.monotonic()
        answered, found = attempt(database, lambda session: deposits.locate(session, file))
        if found is not None:
            return found
        if answered and not told:
            told = True
            _log.info("waiting for the uploaded file %s, which is not in the store yet", file.name)
        if stop():
            raise Interrupted
        if waited > patience:
            raise NotInStore(
                f"The uploaded file {file.name} has not reached the store {Store(settings).root} in {patience:.0f} seconds: the log of "
                "the web process that took it says why. Once it is there, resume the run."
            )
        time.sleep(_LOOK_SECONDS)
        waited += time.monotonic() - began if answered else 0.0
