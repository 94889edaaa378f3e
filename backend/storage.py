"""What takes up how much, and what could go. Registered sizes come from SQL; caches and orphans are measured on disk."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from backend import artifacts, data_files, fetched, recorded, retention, store
from backend.database import Database
from backend.models import TRIAL, Checkpoint, Run
from backend.models_artifacts import Artifact, Removal
from backend.schemas.artifacts import (
    CacheUse,
    Freeable,
    FreeAction,
    FreeAnswer,
    KindUse,
    RunUse,
    StorageOut,
    Volume,
)
from backend.settings import Settings
from backend.states import RunState
from backend.store import Store

MOST_RUNS = 20
_ABANDONED_SECONDS = 86_400.0
_TITLES: dict[FreeAction, tuple[str, str]] = {
    "checkpoints": (
        "Checkpoints of ended runs",
        "All of succeeded runs, and all but the newest of failed and cancelled ones, which resume needs. Pinned ones stay.",
    ),
    "cache": (
        "Cache of references and rewards",
        "Log-probabilities and rewards that runs share. What is needed again is computed again.",
    ),
    "fetched": ("Fetched artifacts", "Copies of what stands in the store. What is needed again is fetched again."),
    "orphans": (
        "Folders that no run refers to",
        "Left by another database or an older studio. Another studio that shares the folder may still use them.",
    ),
}


def survey(database: Database, settings: Settings) -> StorageOut:
    """Everything the storage panel shows. Walks the caches; takes as long as that takes."""
    keep = Store(settings)
    kind = func.sum(Artifact.bytes)
    with database.snapshot() as session:
        kinds = session.execute(
            select(Artifact.kind, func.count(), kind).group_by(Artifact.kind).order_by(kind.desc())
        ).all()
        runs = session.execute(_largest()).all()
        removals = session.scalar(select(func.count()).select_from(Removal)) or 0
    freeable, trouble = [], None
    for action in _TITLES:
        try:
            freeable.append(_count(database, settings, action))
        except store.Unreachable as error:  # the rest is known without it
            trouble = str(error)
    references, copies = _shared(settings), _files(fetched.folder(settings))
    return StorageOut(
        store=keep.root,
        local=keep.is_local,
        kinds=[KindUse(kind=name, count=count, bytes=size) for name, count, size in kinds],
        runs=[
            RunUse(id=row.uid, name=row.name, state=RunState(row.state), bytes=row.all, checkpoint_bytes=row.part or 0)
            for row in runs
        ],
        caches=[
            CacheUse(name="references", bytes=sum(references.values()), files=len(references)),
            CacheUse(name="artifacts", bytes=sum(copies.values()), files=len(copies)),
        ],
        volumes=_volumes(settings, keep),
        removals=removals,
        freeable=freeable,
        trouble=trouble,
    )


def free(database: Database, settings: Settings, action: FreeAction, *, dry_run: bool) -> FreeAnswer:
    """Free what an action names, or only count it. Asking twice frees nothing twice."""
    counted = _count(database, settings, action)
    count, size = counted.count, counted.bytes
    if not dry_run:
        if action == "checkpoints":
            count, size = _free_checkpoints(database, settings)
        elif action == "cache":
            for path in _shared(settings):
                path.unlink(missing_ok=True)
        elif action == "fetched":
            count, size = fetched.make_room(fetched.folder(settings), 0)
        else:
            lost = retention.orphans(database, settings)
            for orphan in lost:
                store.remove(orphan.location)
            count, size = len(lost), sum(orphan.bytes for orphan in lost)
    return FreeAnswer(action=action, count=count, bytes=size, freed=not dry_run)


def _count(database: Database, settings: Settings, action: FreeAction) -> Freeable:
    if action == "checkpoints":
        with database.snapshot() as session:
            rows = session.execute(_dispensable()).all()
        count, size = len(rows), sum(row.bytes for row in rows)
    elif action == "cache":
        files = _shared(settings)
        count, size = len(files), sum(files.values())
    elif action == "fetched":
        count, size = fetched.make_room(fetched.folder(settings), 0, dry_run=True)
    else:
        lost = retention.orphans(database, settings)
        count, size = len(lost), sum(orphan.bytes for orphan in lost)
    title, description = _TITLES[action]
    return Freeable(action=action, title=title, description=description, count=count, bytes=size)


def _largest() -> Any:
    whole = func.sum(Artifact.bytes).label("all")
    part = func.sum(Artifact.bytes).filter(Artifact.kind == "checkpoint").label("part")
    return (
        select(Run.uid, Run.name, Run.state, whole, part)
        .join(Artifact, Artifact.run_id == Run.id)
        .where(Run.algorithm != TRIAL)
        .group_by(Run.id, Run.uid, Run.name, Run.state)
        .order_by(whole.desc())
        .limit(MOST_RUNS)
    )


def _dispensable() -> Any:
    """Checkpoints that no ended run can ever need: a run that succeeded is not resumed, the others from their newest."""
    ended = [RunState.SUCCEEDED.value, RunState.FAILED.value, RunState.CANCELLED.value]
    return (
        select(Checkpoint.run_id, Checkpoint.path, Checkpoint.bytes)
        .join(Run, Run.id == Checkpoint.run_id)
        .where(
            Run.state.in_(ended),
            Checkpoint.pinned.is_(False),
            (Run.state == RunState.SUCCEEDED.value) | (Checkpoint.path != Run.checkpoint_path),
        )
        .order_by(Checkpoint.run_id, Checkpoint.step)
    )


def _free_checkpoints(database: Database, settings: Settings) -> tuple[int, int]:
    count = size = 0
    with database.transaction() as session:
        for row in session.execute(_dispensable().with_for_update(of=Run)).all():
            recorded.forget_checkpoint(session, row.run_id, row.path)
            count, size = count + 1, size + row.bytes
    artifacts.remove_due(database, settings)
    return count, size


def _shared(settings: Settings) -> dict[Path, int]:
    """References and rewards that runs share. What begins with a dot is being written and needed a moment later, except what a
    killed process left; data sets' digests are computed again by no run, and without them no overlap is found."""
    kept = (fetched.folder(settings), data_files.keys_folder(settings))
    found = {}
    for path, size in _files(settings.cache_path).items():
        if any(path.is_relative_to(folder) for folder in kept):
            continue
        with suppress(FileNotFoundError):
            if not path.name.startswith(".") or time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                found[path] = size
    return found


def _files(folder: Path) -> dict[Path, int]:
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix not in (".lock", ".download"):
            with suppress(FileNotFoundError):  # somebody else was quicker
                found[path] = path.stat().st_size
    return found


def _volumes(settings: Settings, keep: Store) -> list[Volume]:
    found: dict[int, Volume] = {}
    for place in (settings.data_path, store.as_path(keep.root)):
        if place is None or not place.exists():
            continue
        use = shutil.disk_usage(place)
        found.setdefault(place.stat().st_dev, Volume(path=str(place), total=use.total, free=use.free))
    return list(found.values())
