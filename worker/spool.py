"""The file between a training process and its supervisor: one JSON line for each event, appended, never rewritten.

The training process can always write it, whatever the database does, and it outlives both processes. `recover` reads what
an attempt left behind that lost its supervisor.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from copg_core.errors import StorageError
from copg_core.events import EVENT, CheckpointSaved, Event, Failed, Finished, Stage, Started

_log = logging.getLogger(__name__)


class SpoolRecorder:
    """The training process's end. A line is in the system's hands before `record` returns: kill -9 loses none."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def record(self, event: Event) -> None:
        """Append one event. Raises StorageError where the disk is full."""
        line = EVENT.dump_json(event) + b"\n"
        try:
            while line:
                line = line[self._file.write(line) or 0 :]
        except OSError as error:
            what = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
            raise StorageError(f"{self._file.name} cannot be written: {what}") from error

    def close(self) -> None:
        self._file.close()


class SpoolReader:
    """The supervisor's end. Reads whole lines only; a line that was torn by a crash is passed over."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self, limit: int = 500) -> list[Event]:
        """The next events, at most `limit`; empty where there is nothing new."""
        if not self._path.exists():
            return []
        found: list[Event] = []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            while len(found) < limit and (line := file.readline()).endswith(b"\n"):
                self._offset = file.tell()
                found += _parse(line)
        return found


def _parse(line: bytes) -> Iterator[Event]:
    try:
        # PostgreSQL stores every character of Unicode but this one.
        yield EVENT.validate_json(line.replace(b"\\u0000", b"\\ufffd"))
    except ValidationError as error:
        _log.warning("passed over a line of the spool that is no event: %s", str(error).splitlines()[0])


def recover(path: Path, *, failure_ends: bool = True) -> list[Event]:
    """What still counts of an attempt that lost its supervisor: everything up to its last whole checkpoint or its end.

    `failure_ends=False`: its supervisor saw the failure and let the run go on all the same, so it counts for nothing.

    What came after the checkpoint will be computed, and recorded, again by the attempt that goes on from it.
    """
    everything: list[Event] = []
    reader = SpoolReader(path)
    while batch := reader.read():
        everything += batch
    keep = 0
    passing = (Stage, Started) if failure_ends else (Stage, Started, Failed)
    for count, event in enumerate(everything, start=1):
        match event:
            case CheckpointSaved() if Path(event.path).is_dir():
                keep = count
            case Finished() if Path(event.output).is_dir():
                keep = count
            case Failed() if failure_ends:
                keep = count
    return [event for event in everything[:keep] if not isinstance(event, passing)]
