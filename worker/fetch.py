"""Brings artifacts of other machines to this one: into a cache by content, with a size limit, verified file by file."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO

from backend import fetched, store
from backend.artifacts import Kept
from backend.settings import Settings
from backend.store import Damaged, File, Interrupted, Store

_log = logging.getLogger(__name__)
_WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)


class Fetcher:
    """What an attempt needs from elsewhere. Until `close()` nothing of it is evicted from the cache."""

    def __init__(self, settings: Settings) -> None:
        self._store = Store(settings)
        self._folder = fetched.folder(settings)
        self._limit = int(settings.artifacts_cache_gigabytes * 1e9)
        self._patience = settings.artifacts_patience_seconds
        self._held: list[IO[bytes]] = []

    def fetch(self, location: str, kept: Kept | None, stop: Callable[[], bool] = store.never) -> Path | None:
        """A local folder with the content of `location`; None where it is neither here nor in the store.

        Raises Damaged where the store's copy is not what was registered, Interrupted, and, where the store cannot be
        reached within the settings' patience, whatever its driver raises.
        """
        if "://" not in location:
            stands = Path(store.standing(location, self._store.data))
            return stands if store.is_there(stands) else None
        here = self._store.working_copy(location)
        if here is not None and here.is_dir() and (kept is None or _looks_like(here, kept)):
            return here
        if kept is None:
            return None
        entry = self._folder / kept.sha256
        self._held.append(fetched.hold(entry))
        if entry.is_dir() and _looks_like(entry, kept):
            os.utime(entry)
            return entry
        return self._bring(location, kept.files, entry, stop)

    def fetch_file(self, folder: str, file: File, stop: Callable[[], bool] = store.never) -> Path | None:
        """The cache's own folder with `<sha256>/<name>` in it, for a file of `folder` in the store; otherwise like `fetch`."""
        entry = self._folder / file.sha256
        self._held.append(fetched.hold(entry))
        if (entry / file.name).is_file():
            os.utime(entry)
            return self._folder
        return self._bring(folder, (file,), entry, stop) and self._folder

    def _bring(self, location: str, files: tuple[File, ...], entry: Path, stop: Callable[[], bool]) -> Path | None:
        began, tries = time.monotonic(), 0
        while True:
            try:
                return self._download(location, files, entry, stop)
            except (Interrupted, Damaged):
                raise
            except FileNotFoundError:
                return None
            except Exception as error:
                if time.monotonic() - began > self._patience:
                    raise
                _log.warning("%s cannot be fetched, trying again: %s", location, error)
                _sleep(_WAITS[min(tries, len(_WAITS) - 1)], stop)
                tries += 1

    def close(self) -> None:
        for lock in self._held:
            lock.close()
        self._held = []

    def _download(self, location: str, files: tuple[File, ...], entry: Path, stop: Callable[[], bool]) -> Path:
        total = sum(file.bytes for file in files)
        fetched.make_room(self._folder, self._limit - total)
        partial = entry.with_name(f".partial-{uuid.uuid4().hex}")
        try:
            for file in files:
                store.download(location, file, partial / file.name, stop)
            shutil.rmtree(entry, ignore_errors=True)
            with contextlib.suppress(OSError):  # somebody else was quicker with the same content
                partial.rename(entry)
            _log.info("fetched %s (%d bytes)", location, total)
            return entry
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _looks_like(folder: Path, kept: Kept) -> bool:
    """Same names and sizes. Folders appear whole or not at all, and a checkpoint's content is verified when it is read."""
    try:
        return all((folder / file.name).stat().st_size == file.bytes for file in kept.files)
    except OSError:
        return False


def _sleep(seconds: float, stop: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if stop():
            raise Interrupted
        time.sleep(0.1)
