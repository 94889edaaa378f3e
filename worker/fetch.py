"""Brings artifacts of other machines to this one: into a cache by content, with a size limit, verified file by file."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from backend import fetched, store
from backend.artifacts import Kept
from backend.settings import Settings
from backend.store import Damaged, File, Interrupted, Store
from copg_core.datasets import stored
from copg_core.sources import StoredFile

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
        return self._bring(location, kept.files, entry, lambda: entry.is_dir() and _looks_like(entry, kept), stop)

    def fetch_file(self, folder: str, file: File, stop: Callable[[], bool] = store.never) -> Path | None:
        """The cache's own folder with `<sha256>/<name>` in it, for a file of `folder` in the store; otherwise like `fetch`."""
        entry = self._folder / file.sha256
        self._held.append(fetched.hold(entry))
        wanted = StoredFile(sha256=file.sha256, name=file.name)
        here = self._bring(folder, (file,), entry, lambda: stored.find(wanted, self._folder) is not None, stop)
        return self._folder if here is not None else None

    def _bring(
        self,
        location: str,
        files: tuple[File, ...],
        entry: Path,
        is_whole: Callable[[], bool],
        stop: Callable[[], bool],
    ) -> Path | None:
        """The entry, once it is whole: one of several attempts on this machine downloads it, the others wait."""
        began, tries = None, 0
        while True:
            try:
                with _alone(entry, self._patience, stop):
                    began = time.monotonic() if began is None else began
                    if not is_whole():
                        self._download(location, files, entry, stop)
                    os.utime(entry)
                    return entry
            except (Interrupted, Damaged):
                raise
            except _Gone:
                return None
            except Exception as error:
                if began is None or time.monotonic() - began > self._patience:
                    raise
                _log.warning("%s cannot be fetched, trying again: %s", location, error)
                _sleep(_WAITS[min(tries, len(_WAITS) - 1)], stop)
                tries += 1

    def close(self) -> None:
        for lock in self._held:
            lock.close()
        self._held = []

    def _download(self, location: str, files: tuple[File, ...], entry: Path, stop: Callable[[], bool]) -> None:
        total = sum(file.bytes for file in files)
        fetched.make_room(self._folder, self._limit - total)
        partial = entry.with_name(f".partial-{uuid.uuid4().hex}")
        try:
            for file in files:
                try:
                    store.download(location, file, partial / file.name, stop)
                except FileNotFoundError as error:
                    raise _Gone from error
            _put(partial, files, entry)
            _log.info("fetched %s (%d bytes)", location, total)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


class _Gone(Exception):  # noqa: N818 - not an error
    """The store does not have it."""


@contextlib.contextmanager
def _alone(entry: Path, patience: float, stop: Callable[[], bool]) -> Iterator[None]:
    """While nobody else on this machine downloads the entry. Whoever hangs for longer than the patience is not waited for: two
    downloads of one entry waste time and harm nobody. Raises Interrupted."""
    end = time.monotonic() + patience
    with entry.with_name(f"{entry.name}.download").open("ab") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    _log.warning(
                        "%s has been downloaded by another attempt for too long: not waiting for it", entry.name
                    )
                    break
                _sleep(0.1, stop)
        yield


def _put(partial: Path, files: tuple[File, ...], entry: Path) -> None:
    """Give files their place. What stands in an entry that is not whole is replaced file by file: somebody may read one of them."""
    try:
        partial.rename(entry)
    except OSError:
        for file in files:
            target = entry / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            (partial / file.name).replace(target)


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
