"""Rows of data sets as the JSON of the API."""

from __future__ import annotations

from sqlalchemy.orm import Session

from backend import data_sets
from backend.figures import data_sets as figures
from backend.models_data import Dataset
from backend.schemas.datasets import DatasetDetail, DatasetOut, DatasetReport, RunRef
from backend.states import RunState
from backend.views import moment
from copg_core.sources import TaskData


def built_in() -> DatasetOut:
    """The task that needs no data."""
    return DatasetOut(
        id=None,
        name="Built-in task: miniature TL;DR",
        source=TaskData().model_dump(mode="json"),
        shape="task",
        rows=TaskData().train_size,
        content_hash=None,
        created_at=None,
    )


def summary(row: Dataset, runs: int = 0) -> DatasetOut:
    """One row of the list."""
    return DatasetOut(
        id=row.uid,
        name=row.name,
        source=row.source | ({"id": row.uid} if row.file_name is not None else {}),
        shape=row.shape,
        rows=row.rows,
        content_hash=row.content_hash,
        created_at=moment(row.created_at),
        state=row.state,
        error=row.error,
        file_name=row.file_name,
        bytes=row.bytes,
        rows_read=row.rows_read,
        runs=runs,
        deleted_at=moment(row.deleted_at),
    )


def detail(session: Session, row: Dataset) -> DatasetDetail:
    """One data set with what was found in it and who uses it."""
    runs = data_sets.use_counts(session, [row]).get(row.id, 0)
    used_by = [
        RunRef(id=run.uid, name=run.name, state=RunState(run.state)) for run in data_sets.used_by(session, row, 50)
    ]
    return DatasetDetail(
        **summary(row, runs).model_dump(),
        report=DatasetReport.model_validate(row.report) if row.report is not None else None,
        used_by=used_by,
        figures=figures.names_of(row.report),
        revision=row.revision,
    )
