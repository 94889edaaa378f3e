"""What a run can be made of: algorithms with their forms, models, data sets."""

from __future__ import annotations

import inspect
import uuid
from typing import get_args

from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from backend.database import NOW
from backend.errors import Conflict, Invalid, NotFound
from backend.models import Dataset, Run
from backend.routes.context import Context
from backend.schemas import (
    AlgorithmList,
    AlgorithmOut,
    DatasetCreate,
    DatasetList,
    DatasetOut,
    DatasetPreview,
    ModelList,
    ModelOut,
    PreviewRequest,
    PreviewRow,
)
from backend.states import RunState
from backend.views import moment
from copg_core import datasets
from copg_core.config import CONFIGS, Algorithm
from copg_core.errors import DataError
from copg_core.sources import DataSource, PresetModel, TaskData

router = APIRouter(tags=["catalogue"])


@router.get("/algorithms", response_model=AlgorithmList)
def list_algorithms() -> AlgorithmList:
    """Each algorithm with the JSON Schema of its configuration and the paper's defaults."""
    return AlgorithmList(items=[_algorithm(name) for name in get_args(Algorithm)])


def _algorithm(name: Algorithm) -> AlgorithmOut:
    config = CONFIGS[name]
    return AlgorithmOut(
        algorithm=name,
        title=str(config.model_config["title"]),
        description=inspect.cleandoc(config.__doc__ or ""),
        config_schema=config.model_json_schema(),
        defaults=config().model_dump(mode="json"),
    )


@router.get("/models", response_model=ModelList)
def list_models(context: Context) -> ModelList:
    """Small Llamas built on the spot, and what succeeded runs have trained, newest first."""
    field = PresetModel.model_fields["size"]
    widths = dict(part.strip().split(": ") for part in (field.description or "").rstrip(".").split(";"))
    presets = [
        ModelOut(
            kind="preset",
            source=PresetModel(size=size).model_dump(mode="json"),
            title=f"New Llama, {size}",
            description=f"Random weights: {widths[size]}.",
            role="policy",
            run=None,
        )
        for size in get_args(field.annotation)
    ]
    with context.database.snapshot() as session:
        trained = session.execute(
            select(Run.uid, Run.name, Run.algorithm, Run.step, Run.last_reward)
            .where(Run.state == RunState.SUCCEEDED)
            .order_by(Run.finished_at.desc(), Run.id.desc())
            .limit(1000)
        ).all()
    return ModelList(items=[*presets, *(_trained(*row) for row in trained)])


def _trained(uid: str, name: str, algorithm: str, step: int, reward: float | None) -> ModelOut:
    facts = [str(CONFIGS[algorithm].model_config["title"]), f"{step} steps"]
    if reward is not None:
        facts.append(f"reward {reward:.3g}")
    return ModelOut(
        kind="run",
        source={"kind": "run", "run": uid},
        title=name,
        description=", ".join(facts),
        role="reward" if algorithm == "reward_model" else "policy",
        run=uid,
    )


@router.get("/datasets", response_model=DatasetList)
def list_datasets(context: Context) -> DatasetList:
    """The built-in task, then what was registered, newest first."""
    built_in = DatasetOut(
        id=None,
        name="Built-in task: miniature TL;DR",
        source=TaskData().model_dump(mode="json"),
        shape="task",
        rows=TaskData().train_size,
        content_hash=None,
        created_at=None,
    )
    with context.database.snapshot() as session:
        rows = list(session.scalars(select(Dataset).order_by(Dataset.id.desc())))
    return DatasetList(items=[built_in, *map(_dataset, rows)])


def _dataset(row: Dataset) -> DatasetOut:
    return DatasetOut(
        id=row.uid,
        name=row.name,
        source=row.source,
        shape=row.shape,
        rows=row.rows,
        content_hash=row.content_hash,
        created_at=moment(row.created_at),
    )


@router.post("/datasets", status_code=201, response_model=DatasetOut)
def create_dataset(body: DatasetCreate, context: Context) -> DatasetOut:
    """Register a data source under a name, after looking at it."""
    shape, rows, content_hash = _look_at(body.source)
    try:
        with context.database.transaction() as session:
            row = Dataset(
                uid=uuid.uuid4().hex,
                name=body.name,
                source=body.source.model_dump(mode="json"),
                shape=shape,
                rows=rows,
                content_hash=content_hash,
                created_at=NOW,
            )
            session.add(row)
            session.flush()
            session.refresh(row)
            return _dataset(row)
    except IntegrityError as error:
        raise Conflict(f"a data set named {body.name!r} is registered already") from error


def _look_at(source: DataSource) -> tuple[str, int | None, str | None]:
    """Shape, rows and content hash. Pairs are tried first: they serve every algorithm, demonstrations SFT alone. A hub
    data set is read when a run starts, and only there. Raises Invalid."""
    if source.kind == "hub":
        return "hub", None, None
    try:
        try:
            seen = datasets.preview(source, "copg", 1)
        except DataError:
            seen = datasets.preview(source, "sft", 1)
        return seen.shape, seen.counted_rows, datasets.content_hash(source)
    except DataError as error:
        raise Invalid.field("source", str(error)) from error


@router.delete("/datasets/{dataset_id}", status_code=204)
def delete_dataset(dataset_id: str, context: Context) -> None:
    """Forget a registered data source; the data itself is not touched, and runs keep their configuration."""
    with context.database.transaction() as session:
        row = session.scalar(select(Dataset).where(Dataset.uid == dataset_id))
        if row is None:
            raise NotFound(f"there is no data set {dataset_id!r}")
        session.delete(row)


@router.post("/datasets/preview", response_model=DatasetPreview)
def preview_dataset(body: PreviewRequest) -> DatasetPreview:
    """How a data source is understood for an algorithm, with its first rows."""
    try:
        seen = datasets.preview(body.source, body.algorithm, body.rows)
    except DataError as error:
        raise Invalid.field("source", str(error)) from error
    return DatasetPreview(
        shape=seen.shape,
        columns=list(seen.columns),
        mapping=dict(seen.mapping),
        rows=[PreviewRow.model_validate(row, from_attributes=True) for row in seen.rows],
        counted_rows=seen.counted_rows,
    )
