"""The cache of artifacts that came from a store: `<data>/cache/artifacts/<hash>/`, with a size limit.

Whoever uses an entry holds a shared lock on its `.lock` file; eviction passes over what it cannot lock alone.
"""

from __future__ import annotations

import fcntl
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from backend.settings import Settings

_PARTIAL = ".partial-"
_ABANDONED_SECONDS = 86_400.0


def folder(settings: Settings) -> Path:
    """Where the entries stand."""
    return settings.cache_path / "artifacts"


def hold(entry: Path) -> IO[bytes]:
    """Keep an entry, there already or not yet, from being evicted until the returned file is closed."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    lock = entry.with_name(f"{entry.name}.lock").open("ab")
    fcntl.flock(lock, fcntl.LOCK_SH)
    return lock


def make_room(cache: Path, limit: int, *, dry_run: bool = False) -> tuple[int, int]:
    """Evict what was not used for longest until the cache has at most `limit` bytes; (entries, bytes) that went.

    What a run on this machine holds stays, so the cache may end up larger than its limit.
    """
    entries = [entry for entry in cache.glob("*") if entry.is_dir()]
    sizes = {entry: _size(entry) for entry in entries}
    left, count, freed = sum(sizes.values()), 0, 0
    used = {entry: _used(entry) for entry in entries}
    for entry in sorted(entries, key=lambda item: used[item]):
        if left <= limit:
            break
        being_written = entry.name.startswith(_PARTIAL) and time.time() - used[entry] < _ABANDONED_SECONDS
        if not being_written and _evict(entry, dry_run):
            left -= sizes[entry]
            count, freed = count + 1, freed + sizes[entry]
    return count, freed


def _size(entry: Path) -> int:
    """Bytes in it. Another attempt may give a file of it its place, or take it away, while one looks."""
    total = 0
    for item in entry.rglob("*"):
        with suppress(OSError):
            total += item.stat().st_size if item.is_file() else 0
    return total


def _used(entry: Path) -> float:
    try:
        return entry.stat().st_mtime
    except OSError:
        return time.time()


def _evict(entry: Path, dry_run: bool) -> bool:
    with entry.with_name(f"{entry.name}.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        if not dry_run:
            shutil.rmtree(entry, ignore_errors=True)
        return dry_run or not entry.exists()
