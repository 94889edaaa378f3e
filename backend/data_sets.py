"""Registered and uploaded data sets: found, named, used by runs, deleted. Sessions are the caller's.

A run names an upload by its id. When the run is made the configuration gets the hash and name of the file, and a row of `run_data`:
from then on the file stays until every run that reads it has ended, and the record stays as long as a run refers to it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from backend import deposits
from backend.database import NOW
from backend.errors import Conflict, NotFound
from backend.models import Run
from backend.models_data import Dataset, RunData
from backend.run_errors import DataMissing
from backend.states import TERMINAL
from copg_core.config import RunConfig
from copg_core.datasets.files import format_of
from copg_core.sources import DataSource, StoredFile, UploadData

ANALYSING, READY, UNREADABLE = "analysing", "ready", "unreadable"
_ROLES = (("train", "id", "file"), ("validation", "validation_id", "validation_file"))


def get(session: Session, uid: str, *, for_update: bool = False) -> Dataset:
    """The data set with this public id, deleted or not. Raises NotFound."""
    query = select(Dataset).where(Dataset.uid == uid).execution_options(populate_existing=True)
    row = session.scalars(query.with_for_update() if for_update else query).one_or_none()
    if row is None:
        raise NotFound(f"there is no data set {uid!r}")
    return row


def find(session: Session, uid: str) -> Dataset | None:
    """The same, None where there is none or it was deleted."""
    return session.scalar(select(Dataset).where(Dataset.uid == uid, Dataset.deleted_at.is_(None)))


def present(session: Session, uid: str, *, for_update: bool = False) -> Dataset:
    """The same, unless it was deleted. Raises NotFound."""
    row = get(session, uid, for_update=for_update)
    if row.deleted_at is not None:
        raise NotFound(f"the data set {row.name!r} was deleted (sha256 {row.content_hash})")
    return row


def add(session: Session, name: str, **values: Any) -> Dataset:
    """A new row. Raises IntegrityError where a data set that is there has the name."""
    row = Dataset(uid=uuid.uuid4().hex, name=name, created_at=NOW, **values)
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def free_name(session: Session, wanted: str) -> str:
    """The name itself, or with the first number behind it that nobody has."""
    taken = set(session.scalars(select(Dataset.name).where(Dataset.deleted_at.is_(None))))
    name, number = wanted[:200], 1
    while name in taken:
        number += 1
        name = f"{wanted[:190]} ({number})"
    return name


def same_content(session: Session, sha256: str, file_name: str) -> Dataset | None:
    """The upload that holds this content in this format already."""
    rows = session.scalars(
        select(Dataset).where(
            Dataset.content_hash == sha256, Dataset.file_name.is_not(None), Dataset.deleted_at.is_(None)
        )
    )
    wanted = format_of(Path(file_name))
    return next((row for row in rows if format_of(Path(row.file_name or "")) == wanted), None)


def lock_content(session: Session, sha256: str) -> None:
    """Until the transaction ends nobody else puts a file with this content in its place, or takes it away."""
    if session.get_bind().dialect.name == "postgresql":  # SQLite has one writer as it is
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": int(sha256[:15], 16)})


# ---------------------------------------------------------------- runs that read them


def pinned(session: Session, config: RunConfig) -> tuple[RunConfig, dict[str, int]]:
    """The configuration with hash and name of its uploaded files, and role -> row that it reads. Raises DataMissing."""
    data = config.data
    if not isinstance(data, UploadData):
        return config, {}
    links: dict[str, int] = {}
    files: dict[str, StoredFile | None] = {"file": None, "validation_file": None}
    given = named(data)
    for role, field, place in _ROLES:
        if (uid := given.get(field)) is None:
            continue
        row = session.scalars(select(Dataset).where(Dataset.uid == uid).with_for_update(read=True)).one_or_none()
        files[place] = usable_file(row, field, uid)
        assert row is not None
        links[role] = row.id
    return config.model_copy(update={"data": data.model_copy(update=files)}), links


def named(data: DataSource) -> dict[str, str]:
    """The uploads that a source names, by the field that names each."""
    given = {field: getattr(data, field) for _, field, _ in _ROLES} if isinstance(data, UploadData) else {}
    return {field: uid for field, uid in given.items() if uid is not None}


def usable(session: Session, field: str, uid: str) -> StoredFile:
    """The file of an upload that a run may read. Raises DataMissing."""
    return usable_file(session.scalars(select(Dataset).where(Dataset.uid == uid)).one_or_none(), field, uid)


def usable_file(row: Dataset | None, field: str, uid: str) -> StoredFile:
    if row is None or row.file_name is None or row.content_hash is None:
        raise DataMissing(field, f"no uploaded data set has the id {uid!r}: choose one of the list, or upload the file")
    if row.deleted_at is not None:
        raise DataMissing(field, f"the data set {row.name!r} was deleted (sha256 {row.content_hash}): upload it again")
    if row.state == UNREADABLE:
        raise DataMissing(field, f"the data set {row.name!r} cannot be read: {row.error}")
    return StoredFile(sha256=row.content_hash, name=row.file_name)


def link(session: Session, run_id: int, links: dict[str, int]) -> None:
    """Note which data sets a run reads."""
    session.add_all(RunData(run_id=run_id, role=role, dataset_id=row) for role, row in links.items())


def read_by(session: Session, run_id: int) -> Sequence[tuple[str, Dataset]]:
    """Role and row of the data sets that a run reads."""
    query = (
        select(RunData.role, Dataset)
        .join(Dataset, Dataset.id == RunData.dataset_id)
        .where(RunData.run_id == run_id)
        .order_by(RunData.role)
    )
    return [(role, row) for role, row in session.execute(query)]


def without_files(session: Session, names: Mapping[int, str]) -> dict[int, str]:
    """Of these runs, those whose data was deleted and has not come back, by number with why. `names` are what to call them."""
    query = (
        select(RunData.run_id, Dataset)
        .join(Dataset, Dataset.id == RunData.dataset_id)
        .where(RunData.run_id.in_(names), Dataset.deleted_at.is_not(None), Dataset.content_hash.is_not(None))
        .order_by(RunData.run_id, RunData.role)
    )
    found: dict[int, str] = {}
    back: dict[int, bool] = {}
    for run_id, row in session.execute(query):
        if row.id not in back:
            back[row.id] = same_content(session, str(row.content_hash), row.file_name or "") is not None
        if not back[row.id]:
            why = (
                f"run {names[run_id]!r} reads the data set {row.name!r}, which was deleted: upload the same file again "
                f"(sha256 {row.content_hash}), then take the run up again"
            )
            found.setdefault(run_id, why)
    return found


def use_counts(session: Session, rows: Sequence[Dataset]) -> dict[int, int]:
    """How many runs refer to each."""
    query = (
        select(RunData.dataset_id, func.count(RunData.run_id.distinct()))
        .where(RunData.dataset_id.in_([row.id for row in rows]))
        .group_by(RunData.dataset_id)
    )
    return dict(session.execute(query).all())


def used_by(session: Session, row: Dataset, limit: int) -> Sequence[Run]:
    """The newest runs that refer to it."""
    linked = select(RunData.run_id).where(RunData.dataset_id == row.id)
    return session.scalars(select(Run).where(Run.id.in_(linked)).order_by(Run.id.desc()).limit(limit)).all()


# ---------------------------------------------------------------- deleting


def delete(session: Session, row: Dataset) -> None:
    """Forget a data set; keep its record where runs refer to it. Its file is the caller's to remove, after the commit.

    Raises Conflict while a run that has not ended needs the file.
    """
    if row.file_name is not None and (names := _waiting_for(session, row)):
        listed = ", ".join(repr(name) for name in names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise Conflict(
            f"the data set {row.name!r} is needed by runs that have not ended ({listed}): cancel them, or wait for them"
        )
    deposits.forget(session, row)
    if use_counts(session, [row]):
        row.deleted_at = NOW
        row.state = READY if row.state == ANALYSING else row.state
        row.lease_until = None
    else:
        session.delete(row)
    session.flush()


def _waiting_for(session: Session, row: Dataset) -> list[str]:
    """Names of runs that have not ended and read this content, perhaps through a record that was deleted before."""
    linked = (
        select(RunData.run_id)
        .join(Dataset, Dataset.id == RunData.dataset_id)
        .where(Dataset.content_hash == row.content_hash)
    )
    ended = [state.value for state in TERMINAL]
    query = select(Run.name).where(Run.id.in_(linked), Run.state.not_in(ended)).order_by(Run.id)
    return list(session.scalars(query))
