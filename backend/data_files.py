"""From a data set of the studio to files on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from sqlalchemy import select

from backend import data_sets
from backend.database import Database
from backend.models_data import Dataset
from backend.run_errors import DataMissing
from backend.settings import Settings
from copg_core.datasets import on_disk
from copg_core.datasets.stored import find
from copg_core.errors import DataError
from copg_core.sources import DataSource, FileData, StoredFile, UploadData


def as_file(database: Database, settings: Settings, source: DataSource) -> DataSource:
    """Uploaded data as files, once a reader with limits has been through them; any other source as it is.

    Raises DataError where one is unknown, deleted, unreadable, not analysed, or not on this machine.
    """
    if not isinstance(source, UploadData):
        return source
    files = {}
    with database.snapshot() as session:
        for field, place in (("id", "file"), ("validation_id", "validation_file")):
            uid = getattr(source, field)
            if uid is None:
                continue
            row = session.scalars(select(Dataset).where(Dataset.uid == uid)).one_or_none()
            try:
                files[place] = data_sets.usable_file(row, field, uid)
            except DataMissing as error:
                raise DataError(str(error)) from error
            if row is not None and row.state == data_sets.ANALYSING:
                raise DataError("is still being analysed: look again in a moment", source=row.name)
            if row is not None and row.report is None:
                raise DataError("was not read to its end: have it analysed, on its page", source=row.name)
    return on_disk(source.model_copy(update=files), settings.datasets_path)


def as_file_where_analysed(database: Database, settings: Settings, source: DataSource) -> DataSource:
    """The same; the source itself where that cannot be: the making of the run says what is wrong with it, or the run reads
    first what nobody has read yet."""
    try:
        return as_file(database, settings, source)
    except DataError:
        return source


def file_of(row: Dataset, settings: Settings) -> FileData:
    """A data set as a file of this machine. Raises DataError for one that is no file."""
    if row.file_name is None:
        if row.source.get("kind") != "file":
            raise DataError("is read when a run starts, and only there", source=row.name)
        return FileData.model_validate(row.source)
    stored = StoredFile(sha256=str(row.content_hash), name=row.file_name)
    source = UploadData.model_validate({**row.source, "id": row.uid, "file": stored})
    return cast(FileData, on_disk(source, settings.datasets_path))


def is_missing(row: Dataset, settings: Settings) -> bool:
    """Whether the file of an upload is not in this machine's data folder."""
    return find(StoredFile(sha256=str(row.content_hash), name=str(row.file_name)), settings.datasets_path) is None


def told_by_name(message: str, row: Dataset, settings: Settings) -> str:
    """A message about a file with the name that a person gave, in place of where we keep it."""
    home = settings.datasets_path / str(row.content_hash)
    text = message.replace(f"{home}/", "") if row.file_name is not None else message
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()[:2000]


def keys_folder(settings: Settings) -> Path:
    """Where the digests of all data sets stand."""
    return settings.cache_path / "datasets"


def keys_path(settings: Settings, uid: str) -> Path:
    """Where the digests of a data set's prompts stand: what the overlap with others is computed from."""
    return keys_folder(settings) / f"{uid}.npz"
