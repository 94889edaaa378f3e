"""The sweep: clears what was given up, and what ended runs left without a row. Any number of processes may do it.

It removes only what this database has known and given up. Folders of runs that it never heard of may belong to another
studio: `orphans` lists them for a person to decide.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend import artifacts, store
from backend.database import Database
from backend.loops import Loop
from backend.models import Checkpoint, Run
from backend.models_artifacts import Artifact
from backend.settings import Settings
from backend.states import TERMINAL
from backend.store import Store

_log = logging.getLogger(__name__)
_RUN = re.compile(r"[0-9a-f]{32}")
_IDS_AT_ONCE = 500


class Sweeper(Loop):
    """A thread beside the reconcile loop: a store that hangs must not keep hints waiting."""

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__("sweep", seconds=10.0)
        self._database, self._settings = database, settings

    def step(self) -> None:
        artifacts.remove_due(self._database, self._settings)


class Leftovers(Loop):
    """A thread of everybody who has a data folder, workers too: what stands on the disk of a machine that lost its run, nobody
    else can see."""

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__("leftovers", seconds=3600.0)
        self._database, self._settings = database, settings

    def step(self) -> None:
        sweep_leftovers(self._database, self._settings)


def sweep_leftovers(database: Database, settings: Settings) -> int:
    """Give up what ended runs have on disk without a row: torn checkpoints, uploads that were never registered, what a
    retry left. Only what is older than the settings' age; returns how many folders."""
    old = [path for path in _attempt_folders(settings.runs_path) if _age_hours(path) > settings.orphan_hours]
    if not old:
        return 0
    home = settings.runs_path
    uids = sorted({path.relative_to(home).parts[0] for path in old})
    with database.snapshot() as session:
        ended = {run.uid: run.id for run in _runs(session, uids) if run.state in TERMINAL}
        known = _known_places(session, list(ended.values()))
    gone = [
        path
        for path in old
        if path.relative_to(home).parts[0] in ended and known.isdisjoint((str(path), path.relative_to(home).as_posix()))
    ]
    for path in gone:
        _log.info("removing %s: its run has ended and nothing refers to it", path)
        with suppress(FileNotFoundError):  # a worker of this folder was faster
            store.remove(str(path))
    return len(gone)


def _attempt_folders(home: Path) -> Iterator[Path]:
    for pattern in ("*/attempt-*/checkpoints/step-*", "*/attempt-*/checkpoints/.partial-*", "*/attempt-*/*output"):
        yield from home.glob(pattern)


def _known_places(session: Session, run_ids: list[int]) -> set[str]:
    """Local paths that rows name. What stands in a data folder is named by what follows `runs/` too: rows keep the folder's
    path as it was, and a folder that was moved or mounted elsewhere must not look as if nothing referred to it."""
    found: set[str] = set()
    for begin in range(0, len(run_ids), _IDS_AT_ONCE):
        some = run_ids[begin : begin + _IDS_AT_ONCE]
        places = {*session.scalars(select(Checkpoint.path).where(Checkpoint.run_id.in_(some)))}
        places |= {*session.scalars(select(Run.output_path).where(Run.id.in_(some), Run.output_path.is_not(None)))}
        found |= places | {place.rpartition("/runs/")[2] for place in places if "://" not in place}
        urls = session.scalars(select(Artifact.url).where(Artifact.run_id.in_(some)))
        found |= {str(path) for url in urls if (path := store.as_path(url)) is not None}
    return found


@dataclass(frozen=True)
class Orphan:
    """A run's folder that no run of this database refers to, old enough to be nobody's any more."""

    location: str
    bytes: int


def orphans(database: Database, settings: Settings) -> list[Orphan]:
    """Such folders in the data folder and in the store. Folders are listed before the runs are asked for: a run's row is
    older than its folder, so that a new run is never taken for an orphan. Raises Unreachable."""
    keep = Store(settings)
    places = {f"{settings.data_path}/runs", keep.location("runs")}
    found = [(place, name) for place in sorted(places) for name in store.folders(place) if _RUN.fullmatch(name)]
    with database.snapshot() as session:
        known = {run.uid for run in _runs(session, sorted({name for _, name in found}))}
    listed = []
    for place, name in found:
        if name in known:
            continue
        size, newest = store.measure(f"{place}/{name}")
        if newest is None or time.time() - newest > settings.orphan_hours * 3600:
            listed.append(Orphan(f"{place}/{name}", size))
    return listed


def _runs(session: Session, uids: list[str]) -> list[Run]:
    rows: list[Run] = []
    for begin in range(0, len(uids), _IDS_AT_ONCE):
        rows += session.scalars(select(Run).where(Run.uid.in_(uids[begin : begin + _IDS_AT_ONCE])))
    return rows


def _age_hours(path: Path) -> float:
    try:
        return (time.time() - max(item.stat().st_mtime for item in (path, *path.rglob("*")))) / 3600
    except OSError:
        return 0.0
