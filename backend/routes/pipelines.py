"""Pipelines: several runs asked for as one request, each waiting for its parents."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy import select

from backend import idempotency, pipelines, views
from backend.data_checks import DataChecks
from backend.errors import NotFound
from backend.models import Pipeline
from backend.routes.context import Context, IdempotencyKey
from backend.routes.paging import pack, unpack_numbers
from backend.schemas.pipelines import PipelineCreate, PipelineList, PipelineOut

router = APIRouter(prefix="/pipelines", tags=["pipelines"])


@router.post("", status_code=201, response_model=PipelineOut)
def create_pipeline(
    body: PipelineCreate, context: Context, response: Response, key: IdempotencyKey = None
) -> PipelineOut:
    """Queue a preset or a list of steps, all or none. A step refers to an earlier one as `$alias`."""
    steps = pipelines.plan(body, DataChecks.of(context.database, context.settings))
    with context.database.transaction() as session:
        row, replayed = idempotency.once(
            session, "pipelines", key, body,
            make=lambda: pipelines.create(session, body, steps, queue=context.settings.queue),
            find=lambda uid: session.scalar(select(Pipeline).where(Pipeline.uid == uid)),
        )  # fmt: skip
        [created] = views.pipelines(session, [row])
    if replayed:
        response.status_code = 200
    response.headers["Location"] = f"/api/v1/pipelines/{created.id}"
    context.wake()
    return created


@router.get("", response_model=PipelineList)
def list_pipelines(
    context: Context, cursor: str | None = None, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> PipelineList:
    """Pipelines with their runs, newest first."""
    page = select(Pipeline).order_by(Pipeline.id.desc()).limit(limit + 1)
    if cursor is not None:
        [last] = unpack_numbers(cursor, 1)
        page = page.where(Pipeline.id < last)
    with context.database.snapshot() as session:
        found = list(session.scalars(page))
        more, found = len(found) > limit, found[:limit]
        items = views.pipelines(session, found)
    return PipelineList(items=items, next_cursor=pack(found[-1].id) if more else None)


@router.get("/{pipeline_id}", response_model=PipelineOut)
def get_pipeline(pipeline_id: str, context: Context) -> PipelineOut:
    """One pipeline with its runs."""
    with context.database.snapshot() as session:
        row = session.scalar(select(Pipeline).where(Pipeline.uid == pipeline_id))
        if row is None:
            raise NotFound(f"there is no pipeline {pipeline_id!r}")
        [out] = views.pipelines(session, [row])
        return out
