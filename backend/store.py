"""Where artifacts stand: the data folder, another folder, or an object store, all by fsspec URLs.

A *location* is what rows hold: an absolute path for the data folder itself (nothing is copied there), else a URL. A *key*
is a location relative to the root, the same on every machine: `runs/<uid>/attempt-2/checkpoints/step-200`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from backend import drivers
from backend.settings import Settings

BLOCK = 4 * 1024 * 1024
_MANIFEST = "manifest.json"
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")


@dataclass(frozen=True)
class File:
    """One file of an artifact. `name` is relative to the artifact's folder, or empty where the artifact is one file."""

    name: str
    bytes: int
    sha256: str


class Damaged(Exception):  # noqa: N818 - reads as what it is
    """What stands in the store is not what was registered."""


class Unreachable(Exception):  # noqa: N818 - reads as what it is
    """The store does not answer, or refuses. Each driver has exceptions of its own; this is all of them."""


class Interrupted(Exception):  # noqa: N818 - not an error
    """The caller's `stop()` said so in the middle of a transfer."""


def never() -> bool:
    """The `stop` of a transfer that nobody interrupts."""
    return False


class Store:
    """The root under which everything new is kept."""

    def __init__(self, settings: Settings) -> None:
        self.data = settings.data_path
        self.is_local = not settings.artifacts_url
        self.root = settings.artifacts_url.rstrip("/") or str(self.data)

    def key(self, path: Path | str) -> str | None:
        """The key of a path in the data folder; None for one outside of it."""
        path = Path(path)
        return path.relative_to(self.data).as_posix() if path.is_relative_to(self.data) else None

    def location(self, key: str) -> str:
        return f"{self.root}/{key}"

    def working_copy(self, location: str) -> Path | None:
        """Where what stands at a location of this or an earlier store stands, or stood, in the data folder."""
        return _below(self.data, location)

    def put(self, source: Path, key: str, stop: Callable[[], bool] = never) -> tuple[str, tuple[File, ...]]:
        """Keep a folder or file of the data folder; its location and files. Uploaded files are compared with the hashes
        that the source's own manifest gives; in the data folder itself they are only described.

        Raises FileNotFoundError where the source is gone, and for nothing else; Interrupted; and whatever the store's driver raises.
        """
        location, known = self.location(key), _known(source)
        if not source.exists():
            raise FileNotFoundError(f"{source} is gone")
        names = [""] if source.is_file() else sorted(_names(source))
        found = []
        for name in names:
            path = source / name if name else source
            if self.is_local:
                found.append(known.get(name) or File(name, path.stat().st_size, hash_file(path, stop)))
            else:
                found.append(_upload(path, f"{location}/{name}" if name else location, name, stop))
                if (expected := known.get(name)) is not None and expected != found[-1]:
                    raise Damaged(f"{path} is not what its manifest says")
        return location, tuple(found)


def standing(location: str, data: Path) -> str:
    """Where what was kept at `location` stands now: there, or at the same place below the data folder `data`, where that
    was moved or mounted elsewhere since. Rows keep a path as it was; an object store's URLs do not move, and what is gone from
    a folder that is there is gone."""
    path, moved = as_path(location), _below(data, location)
    if path is None or moved is None or is_there(path):
        return location
    home = as_path(location.rpartition("/runs/")[0] + "/runs")
    return str(moved) if home is not None and not is_there(home) and is_there(moved) else location


def is_there(path: Path) -> bool:
    """Whether something stands at a path, as far as we may look: a folder of somebody else's, or of a mount that is gone, is
    as good as absent."""
    try:
        return path.exists()
    except OSError:
        return False


def _below(data: Path, location: str) -> Path | None:
    _, found, rest = location.rpartition("/runs/")
    return data / "runs" / rest if found and ".." not in PurePosixPath(rest).parts else None


def digest(files: tuple[File, ...]) -> str:
    """One SHA-256 for all files: of the lines `hash  name` in the order of names, as `sha256sum` prints them."""
    lines = "".join(f"{item.sha256}  {item.name}\n" for item in sorted(files, key=lambda item: item.name))
    return hashlib.sha256(lines.encode()).hexdigest()


def hash_file(path: Path, stop: Callable[[], bool] = never) -> str:
    """SHA-256 of a file's content. Raises Interrupted."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            if stop():
                raise Interrupted
            sha.update(block)
    return sha.hexdigest()


def as_path(location: str) -> Path | None:
    """The local path that a location names; None for an object store."""
    if "://" not in location:
        return Path(location)
    parts = urlsplit(location)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def url_of(location: str) -> str:
    """A location as a URL."""
    return location if "://" in location else Path(location).as_uri()


def size(location: str) -> int:
    """Bytes of one file. Raises FileNotFoundError, Unreachable."""
    with _asking(location):
        system, path = _system(location)
        return int(system.info(path)["size"])


def read(location: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
    """The bytes of one file, a block at a time. Raises FileNotFoundError before the first one, and Unreachable."""
    with _asking(location):
        system, path = _system(location)
        with system.open(path, "rb", block_size=BLOCK, cache_type="readahead") as file:
            file.seek(start)
            left = length
            while (block := file.read(BLOCK if left is None else min(BLOCK, left))) != b"":
                yield block
                left = None if left is None else left - len(block)
                if left == 0:
                    return


def download(location: str, file: File, target: Path, stop: Callable[[], bool] = never) -> None:
    """Bring one file of the artifact at `location` to `target`. Raises Damaged, Interrupted, FileNotFoundError."""
    sha, count = hashlib.sha256(), 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as out:
        for block in read(f"{location}/{file.name}" if file.name else location):
            if stop():
                raise Interrupted
            sha.update(block)
            count += len(block)
            out.write(block)
    if (count, sha.hexdigest()) != (file.bytes, file.sha256):
        raise Damaged(f"{file.name or location} in {location} is damaged: its content is not what was registered")


def remove(location: str) -> None:
    """Delete a folder or file; what is not there counts as deleted. Raises what the driver raises."""
    if (local := as_path(location)) is not None:
        if local.is_dir() and not local.is_symlink():
            (local / _MANIFEST).unlink(missing_ok=True)  # half-deleted must not look whole
            shutil.rmtree(local)
        else:
            local.unlink(missing_ok=True)
        return
    system, path = _system(location)
    try:
        if system.exists(path):
            system.rm(path, recursive=True)
            return
    except FileNotFoundError:  # a worker and the sweep may remove the same at once
        if system.exists(path):
            raise
    if why := _no_bucket(location):  # nothing is gone because its bucket is
        raise Unreachable(f"{location} is not removed ({why})")


def folders(location: str) -> list[str]:
    """Names of the folders right under a location; empty where there is nothing. Raises Unreachable."""
    try:
        with _asking(location):
            system, path = _system(location)
            found = system.ls(path, detail=True)
    except FileNotFoundError:
        return []
    return sorted(PurePosixPath(item["name"]).name for item in found if item["type"] == "directory")


def measure(location: str) -> tuple[int, float | None]:
    """Bytes of everything under a location, and when the newest of it was written; None where that is not known. Raises
    Unreachable."""
    with _asking(location):
        system, path = _system(location)
        items = system.find(path, detail=True).values()
    times = [_seconds(item) for item in items]
    known = [moment for moment in times if moment is not None]
    return sum(int(item["size"] or 0) for item in items), max(known) if known and len(known) == len(times) else None


@contextmanager
def _asking(location: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if why := _no_bucket(location):
            raise Unreachable(f"the store does not give {location} ({why})") from error
        raise
    except Exception as error:
        raise Unreachable(f"the store does not give {location} ({_said(error)})") from error


def _no_bucket(location: str) -> str:
    bucket = drivers.missing_bucket(location)
    return "" if bucket is None else f"there is no bucket {bucket!r}"


def _said(error: Exception) -> str:
    said = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    if isinstance(error, PermissionError):  # of which some drivers say no more than Forbidden
        return f"{said}: the credentials of this process do not allow it"
    return said


def _seconds(item: Mapping[str, Any]) -> float | None:
    for name in _TIMES:
        value = item.get(name)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return None


def _system(location: str) -> tuple[Any, str]:
    import fsspec  # the command line never needs it

    if (local := as_path(location)) is not None:  # fsspec would take the %20 of a URL for a name
        return fsspec.filesystem("file"), str(local)
    if (missing := drivers.needs(location)) is not None:
        raise ImportError(missing)
    return drivers.system(location)


def _upload(path: Path, location: str, name: str, stop: Callable[[], bool]) -> File:
    sha, count = hashlib.sha256(), 0
    with path.open("rb") as file:
        try:
            with _replacing(location) as out:
                while block := file.read(BLOCK):
                    if stop():
                        raise Interrupted
                    sha.update(block)
                    count += len(block)
                    out.write(block)
            stored = size(location)
        except FileNotFoundError as error:  # no bucket, or no mount: `path` itself is open
            why = _no_bucket(location) or _said(error)
            raise Unreachable(f"the store does not take {location} ({why})") from error
    if stored != count:
        raise Damaged(f"{location} holds {stored} bytes of {count}")
    return File(name, count, sha.hexdigest())


@contextmanager
def _replacing(location: str) -> Iterator[Any]:
    """A file to write to: what stands at the location stands until all of the new one is there."""
    if (local := as_path(location)) is not None:  # fsspec would write it to the system's temporary folder first
        local.parent.mkdir(parents=True, exist_ok=True)
        part = local.with_name(f".{local.name}.{uuid4().hex}.part")
        try:
            with part.open("wb") as out:
                yield out
            part.replace(local)
        finally:
            part.unlink(missing_ok=True)
        return
    system, target = _system(location)
    if drivers.has_folders(location):  # of an object store this would make the bucket
        system.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
    out = system.open(target, "wb", autocommit=False)
    try:
        yield out
        out.close()
        out.commit()
    except BaseException:
        with suppress(Exception):  # a store that is away has been complained about already
            out.discard()
        with suppress(AttributeError):
            out.closed = True  # or its end, whenever that comes, would write what it still holds
        raise


def _names(folder: Path) -> Iterator[str]:
    return (item.relative_to(folder).as_posix() for item in folder.rglob("*") if item.is_file())


def _known(source: Path) -> dict[str, File]:
    """What a checkpoint's manifest says of its files, so that they need not be read again."""
    try:
        files = json.loads((source / _MANIFEST).read_text(encoding="utf-8"))["files"]
        return {name: File(name, int(item["bytes"]), str(item["sha256"])) for name, item in files.items()}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
