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
PATIENCE = 300.0
"""Seconds that a run waits for a file that was uploaded a moment ago, and is on its way to the store."""
_LOOK_SECONDS = 1.0


def files_of(config: BaseModel) -> list[StoredFile]:
    """The uploaded files that a configuration names."""
    source = getattr(config, "data", None)
    if not isinstance(source, UploadData):
        return []
    return [one for one in (source.file, source.validation_file) if one is not None]


def bring(
    config: BaseModel, database: Database, settings: Settings, fetcher: Fetcher, stop: Callable[[], bool]
) -> Path:  # fmt: skip
    """The folder in which all of them stand; the data folder's where one is nowhere, which the trainer explains.

    Raises Damaged, Interrupted, and whatever the store's driver raises.
    """
    here = settings.datasets_path
    files = files_of(config)
    if Store(settings).is_local or all(stored.find(file, here) for file in files):
        return here
    cache = here
    for file in files:
        copy = _copy_of(file, database, stop)
        found = fetcher.fetch_file(*copy, stop) if copy is not None else None
        if found is None:
            return here
        cache = found
    return cache


def _copy_of(file: StoredFile, database: Database, stop: Callable[[], bool]) -> tuple[str, File] | None:
    begin = time.monotonic()
    while True:
        _, found = attempt(database, lambda session: deposits.locate(session, file))
        if found is not None or time.monotonic() - begin > PATIENCE:
            return found
        if stop():
            raise Interrupted
        time.sleep(_LOOK_SECONDS)
