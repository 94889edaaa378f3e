"""Folders of the store as one file, streamed while they are read: nothing is written to this machine's disk."""

from __future__ import annotations

import io
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from backend import store

Format = Literal["zip", "tar"]
MEDIA = {"zip": "application/zip", "tar": "application/x-tar"}


@dataclass(frozen=True)
class Entry:
    """One file of an archive: its name there, its size in bytes, and how its content is read."""

    name: str
    size: int
    read: Callable[[], Iterator[bytes]]
    written: float = 315_532_800.0  # seconds since 1970; zip knows nothing before 1980


def stored(name: str, location: str, size: int, written: float) -> Entry:
    """A file of the store."""
    return Entry(name, size, lambda: store.read(location), written)


def text(name: str, content: str, written: float) -> Entry:
    """A file that is made for the archive."""
    data = content.encode()
    return Entry(name, len(data), lambda: iter([data]), written)


def stream(entries: Iterable[Entry], form: Format) -> Iterator[bytes]:
    """The archive, a block at a time. Weights do not compress, so nothing is compressed and the load stays small.

    Raises FileNotFoundError where a file has gone, and store.Damaged where it has another size than it should.
    """
    return _zip(entries) if form == "zip" else _tar(entries)


class _Pipe(io.RawIOBase):
    """What an archive's writer writes, to be taken out and sent."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        taken, self._parts = b"".join(self._parts), []
        return taken


def _blocks(entry: Entry) -> Iterator[bytes]:
    count = 0
    for block in entry.read():
        count += len(block)
        yield block
    if count != entry.size:
        raise store.Damaged(f"{entry.name} has {count} bytes in place of {entry.size}")


def _zip(entries: Iterable[Entry]) -> Iterator[bytes]:
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for entry in entries:
            info = zipfile.ZipInfo(entry.name, _moment(entry.written))
            info.external_attr = 0o644 << 16
            with archive.open(info, "w", force_zip64=entry.size >= 2**31) as out:
                for block in _blocks(entry):
                    out.write(block)
                    yield pipe.take()
    yield pipe.take()


def _tar(entries: Iterable[Entry]) -> Iterator[bytes]:
    for entry in entries:
        info = tarfile.TarInfo(entry.name)
        info.size, info.mtime, info.mode = entry.size, entry.written, 0o644
        yield info.tobuf(tarfile.PAX_FORMAT)
        yield from _blocks(entry)
        yield b"\0" * (-entry.size % tarfile.BLOCKSIZE)
    yield b"\0" * (2 * tarfile.BLOCKSIZE)


def _moment(seconds: float) -> tuple[int, int, int, int, int, int]:
    year, month, day, hour, minute, second = time.gmtime(max(seconds, 315_532_800))[:6]
    return year, month, day, hour, minute, second
