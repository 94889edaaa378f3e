"""What runs leave behind, as rows: registered by the attempt that owns the run, forgotten before the files go.

A row is written in the transaction of the event that it belongs to, after the files stand whole in the store; so what is
registered can be trusted, and what is not registered counts for nothing. Deletion goes the other way: the row goes first and
leaves a `removal` in the same transaction, the files follow, and whoever dies in between leaves work, never a lie.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import delete as sql_delete
from sqlalchemy import insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend import store
from backend.database import NOW, Database
from backend.models import Checkpoint, Evaluation, Run
from backend.models_artifacts import Artifact, ArtifactFile, Removal
from backend.settings import Settings
from backend.store import File
from copg_core import retention
from copg_core.recipe import Checkpoints

Kind = Literal["checkpoint", "output", "log", "spool"]
_RETRY_SECONDS = 60.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kept:
    """An artifact that stands whole in the store. `location` is its folder, or its only file."""

    kind: Kind
    name: str
    location: str
    files: tuple[File, ...]
    step: int | None = None

    @property
    def bytes(self) -> int:
        return sum(item.bytes for item in self.files)

    @property
    def sha256(self) -> str:
        return store.digest(self.files)


@dataclass(frozen=True)
class Retain:
    """Registered with a new checkpoint: drop those that the plan does not keep. `good_step` is spared (watch.py)."""

    plan: Checkpoints
    good_step: int | None


def record(session: Session, run_id: int, fence: int, batch: Iterable[object]) -> None:
    """Register what is in a batch of a worker's records; the caller holds the run's row under its fence."""
    for item in batch:
        if isinstance(item, Kept):
            _register(session, run_id, fence, item)
        elif isinstance(item, Retain):
            _retain(session, run_id, item)


def _register(session: Session, run_id: int, fence: int, item: Kept) -> None:
    url = store.url_of(item.location)
    same = [Artifact.run_id == run_id, Artifact.url == url]  # shipped twice, or a log that has grown since
    session.execute(sql_delete(Artifact).where(*same).execution_options(synchronize_session=False))
    row = Artifact(
        uid=uuid.uuid4().hex, run_id=run_id, fence=fence, kind=item.kind, name=item.name, step=item.step,
        url=url, bytes=item.bytes, sha256=item.sha256, created_at=NOW,
    )  # fmt: skip
    session.add(row)
    session.flush()
    files = sorted(item.files, key=lambda file: file.name)
    rows = [
        {"artifact_id": row.id, "number": number, "name": file.name, "bytes": file.bytes, "sha256": file.sha256}
        for number, file in enumerate(files)
    ]
    if rows:
        session.execute(insert(ArtifactFile), rows)


def _retain(session: Session, run_id: int, asked: Retain) -> None:
    rows = session.execute(
        select(Checkpoint.step, Checkpoint.fence, Checkpoint.path, Checkpoint.pinned, Evaluation.reward_mean)
        .outerjoin(Evaluation, (Evaluation.run_id == Checkpoint.run_id) & (Evaluation.step == Checkpoint.step))
        .where(Checkpoint.run_id == run_id)
        .order_by(Checkpoint.step, Checkpoint.fence)
    ).all()
    newest = {row.step: row.path for row in rows}  # of a step that two attempts wrote, the later one's
    steps = retention.kept({row.step: row.reward_mean for row in rows}, asked.plan) | {asked.good_step}
    for row in rows:
        if not row.pinned and (row.step not in steps or newest[row.step] != row.path):
            forget(session, run_id, row.path)


def forget(session: Session, run_id: int, location: str) -> None:
    """Drop the rows of the checkpoint or artifact at a location; its files are removed after the commit."""
    session.execute(
        sql_delete(Checkpoint)
        .where(Checkpoint.run_id == run_id, Checkpoint.path == location)
        .execution_options(synchronize_session=False)
    )
    session.execute(
        sql_delete(Artifact)
        .where(Artifact.run_id == run_id, Artifact.url == store.url_of(location))
        .execution_options(synchronize_session=False)
    )
    to_remove(session, session.scalar(select(Run.uid).where(Run.id == run_id)) or "", [location])


def forget_all(session: Session, run_id: int) -> None:
    """The same for everything that a run has left behind, as before it is tried again from its beginning."""
    uid = session.scalar(select(Run.uid).where(Run.id == run_id)) or ""
    places = set(session.scalars(select(Checkpoint.path).where(Checkpoint.run_id == run_id)))
    mine = select(Artifact.url).where(Artifact.run_id == run_id, Artifact.kind.in_(("checkpoint", "output")))
    places |= {_as_location(url) for url in session.scalars(mine)}
    session.execute(sql_delete(Artifact).where(Artifact.run_id == run_id).execution_options(synchronize_session=False))
    to_remove(session, uid, sorted(places))


def forget_runs(session: Session, run_ids: Sequence[int]) -> None:
    """Before runs' rows go: everything under their names goes from wherever something of them was registered."""
    places = set()
    urls = select(Run.uid, Artifact.url).join(Run, Run.id == Artifact.run_id).where(Run.id.in_(run_ids))
    for uid, url in session.execute(urls):
        home = f"runs/{uid}"
        base, found, _ = url.rpartition(f"/{home}/")
        if found:
            places.add((uid, _as_location(f"{base}/{home}")))
    _list_removals(session, sorted(places))


def _as_location(url: str) -> str:
    """Without the difference between a path and its file:// URL, so that a place is not listed twice."""
    path = store.as_path(url)
    return url if path is None else str(path)


def to_remove(session: Session, uid: str, places: Sequence[str]) -> None:
    """Have places cleared after the commit; `uid` is the run's, or the data set's, that they belonged to."""
    _list_removals(session, [(uid, one) for one in places])


def _list_removals(session: Session, places: Sequence[tuple[str, str]]) -> None:
    if places:
        rows = [{"run_uid": uid, "location": one} for uid, one in places]
        session.execute(insert(Removal).values(not_before=NOW), rows)


def remove_due(database: Database, settings: Settings, *, run_uid: str | None = None, limit: int = 200) -> int:
    """Remove the files of what was forgotten; returns how many places are clear. Any number of processes may do it.

    What cannot be removed stays in the list and is tried again later. Never raises for what a store does.
    """
    query = select(Removal.id, Removal.location, Removal.tries).where(Removal.not_before <= NOW)
    if run_uid is not None:
        query = query.where(Removal.run_uid == run_uid)
    with database.snapshot() as session:
        due = session.execute(query.order_by(Removal.id).limit(limit)).all()
    keep = store.Store(settings)
    done = 0
    for row in due:
        try:
            store.remove(row.location)
            if (copy := keep.working_copy(row.location)) is not None:
                store.remove(str(copy))
        except Exception as error:  # noqa: BLE001 - every driver has its own
            _log.warning("%s cannot be removed yet: %s", row.location, error)
            later = {"tries": row.tries + 1, "not_before": NOW + _RETRY_SECONDS * min(60, 2**row.tries)}
            with database.transaction() as session:
                session.execute(update(Removal).where(Removal.id == row.id).values(**later))
        else:
            with database.transaction() as session:
                session.execute(sql_delete(Removal).where(Removal.id == row.id))
            done += 1
    return done


def remove_quietly(database: Database, settings: Settings, run_uid: str) -> None:
    """The same for one run, right after its transaction; where the database is away the sweep does it."""
    try:
        remove_due(database, settings, run_uid=run_uid)
    except SQLAlchemyError as error:
        _log.warning("files of run %s are removed later: %s", run_uid, str(error).splitlines()[0])


def of_run(session: Session, run_id: int) -> list[Artifact]:
    """A run's artifacts: the output first, then checkpoints from the newest, then logs and spools."""
    order = {"output": 0, "checkpoint": 1, "log": 2, "spool": 3}
    rows = session.scalars(select(Artifact).where(Artifact.run_id == run_id)).all()
    return sorted(rows, key=lambda row: (order.get(row.kind, 9), -(row.step or 0), -row.fence))


def files_of(session: Session, artifact_ids: Sequence[int]) -> dict[int, list[ArtifactFile]]:
    """Files of several artifacts, in the order of their numbers."""
    found: dict[int, list[ArtifactFile]] = {one: [] for one in artifact_ids}
    for row in session.scalars(
        select(ArtifactFile).where(ArtifactFile.artifact_id.in_(artifact_ids)).order_by(ArtifactFile.number)
    ):
        found[row.artifact_id].append(row)
    return found


def registered(session: Session, locations: Iterable[str | None]) -> dict[str, Kept]:
    """What stands at these locations, by location; what was never registered is missing."""
    wanted = {store.url_of(one): one for one in locations if one}
    rows = session.scalars(select(Artifact).where(Artifact.url.in_(wanted))).all() if wanted else []
    files = files_of(session, [row.id for row in rows])
    found: dict[str, Kept] = {}
    for row in rows:
        content = tuple(File(item.name, item.bytes, item.sha256) for item in files[row.id])
        kind: Any = row.kind
        found[wanted[row.url]] = Kept(kind, row.name, wanted[row.url], content, row.step)
    return found
