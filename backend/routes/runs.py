"""Runs: launch, list, look at, change, stop, start again, delete."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel
from sqlalchemy import Select, Text, cast, func, or_, select, update
from sqlalchemy.orm import Session

from backend import runs, views
from backend.database import NOW
from backend.errors import Invalid
from backend.models import Pipeline, Run
from backend.routes.context import Context, IdempotencyKey, Studio
from backend.routes.paging import pack, rows_after, unpack
from backend.schemas import RunCreate, RunDetail, RunList, RunPatch
from backend.states import RunState
from copg_core import datasets
from copg_core.config import Algorithm, RunConfig, prompts_alone
from copg_core.errors import DataError
from copg_core.reward_sources import with_context

router = APIRouter(prefix="/runs", tags=["runs"])

SortKey = Literal[
    "created_at", "started_at", "finished_at", "name", "algorithm", "beta", "state", "step", "total_steps",
    "last_reward", "priority", "attempt",
]  # fmt: skip


def body_hash(body: BaseModel) -> str:
    """Fingerprint of a request, so that a repeated Idempotency-Key with another body is noticed."""
    canonical = json.dumps(body.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def check_data(config: RunConfig, *, field: str = "config.data") -> None:
    """Look at the data before anything is queued. Raises Invalid at `field` with file, row and what was expected."""
    try:
        datasets.check(
            with_context(config.data, getattr(config, "reward", None)), config.algorithm, prompts=prompts_alone(config)
        )
    except DataError as error:
        raise Invalid.field(field, str(error)) from error


@router.post("", status_code=201, response_model=RunDetail)
def create_run(body: RunCreate, context: Context, response: Response, key: IdempotencyKey = None) -> RunDetail:
    """Queue a run. Its configuration and data are checked first; a run whose parents are not done yet waits for them."""
    check_data(body.config)
    with context.database.transaction() as session:
        replayed = key is not None and session.scalar(select(Run.id).where(Run.idempotency_key == key)) is not None
        run = runs.create(
            session,
            body.config,
            name=body.name,
            notes=body.notes,
            priority=body.priority,
            queue=context.settings.queue,
            idempotency_key=key,
            request_hash=body_hash(body),
        )
        created = views.detail(session, run)
    if replayed:
        response.status_code = 200
    response.headers["Location"] = f"/api/v1/runs/{created.id}"
    context.wake()
    return created


@router.get("", response_model=RunList)
def list_runs(
    context: Context,
    state: Annotated[list[RunState] | None, Query(description="Only these; may be given several times.")] = None,
    algorithm: Annotated[list[Algorithm] | None, Query(description="Only these; may be given several times.")] = None,
    pipeline: Annotated[str | None, Query(description="Only the runs of this pipeline.")] = None,
    search: Annotated[str, Query(max_length=200, description="Part of name, id, notes or configuration.")] = "",
    sort: SortKey = "created_at",
    order: Literal["asc", "desc"] = "desc",
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> RunList:
    """Runs, newest first unless asked otherwise. Missing values stand at the end in either order."""
    chosen: Select[Any] = select(Run)
    if state:
        chosen = chosen.where(Run.state.in_(state))
    if algorithm:
        chosen = chosen.where(Run.algorithm.in_(algorithm))
    if pipeline is not None:
        chosen = chosen.join(Pipeline, Pipeline.id == Run.pipeline_id).where(Pipeline.uid == pipeline)
    for word in search.split():
        chosen = chosen.where(_mentions(word))
    column = getattr(Run, sort)
    descending = order == "desc"
    page = chosen.order_by(
        column.is_(None),
        column.desc() if descending else column.asc(),
        Run.id.desc() if descending else Run.id.asc(),
    ).limit(limit + 1)
    if cursor is not None:
        *made_for, value, last = unpack(cursor, 4)
        if made_for != [sort, order]:
            raise Invalid.field("cursor", "this cursor belongs to a list in another order")
        page = page.where(rows_after(column, Run.id, value, last, descending=descending))
    with context.database.snapshot() as session:
        total = session.scalar(select(func.count()).select_from(chosen.subquery())) or 0
        found = list(session.scalars(page))
        more = len(found) > limit
        found = found[:limit]
        items = views.summaries(session, found)
    next_cursor = pack(sort, order, getattr(found[-1], sort), found[-1].id) if more else None
    return RunList(items=items, next_cursor=next_cursor, total=total)


def _mentions(word: str) -> Any:
    stored = json.dumps(word)[1:-1]  # a configuration is stored as JSON, which escapes quotes and letters with accents
    return or_(
        Run.name.icontains(word, autoescape=True),
        Run.uid.startswith(word.lower(), autoescape=True),
        Run.notes.icontains(word, autoescape=True),
        cast(Run.config, Text).icontains(stored, autoescape=True),
    )


@router.get("/{run_id}", response_model=RunDetail)
def get_run(run_id: str, context: Context) -> RunDetail:
    """One run: configuration, parents and children, history, report."""
    with context.database.snapshot() as session:
        return views.detail(session, runs.get(session, run_id))


@router.patch("/{run_id}", response_model=RunDetail)
def update_run(run_id: str, body: RunPatch, context: Context) -> RunDetail:
    """Change name, notes or priority; what is not named stays."""
    changes = body.model_dump(exclude_none=True)
    with context.database.transaction() as session:
        run = runs.get(session, run_id)
        if changes:
            session.execute(
                update(Run).where(Run.id == run.id).values(**changes, rev=Run.rev + 1, changed_at=NOW)
            )  # fmt: skip
        return views.detail(session, runs.get(session, run_id))


@router.delete("/{run_id}", status_code=204)
def delete_run(run_id: str, context: Context) -> None:
    """Delete a run that is not being trained and that no other run refers to, with its files."""
    with context.database.transaction() as session:
        run = runs.get(session, run_id)
        uid = run.uid
        runs.delete(session, run)
    shutil.rmtree(runs.folder(context.settings, uid), ignore_errors=True)


@router.post("/{run_id}/cancel", response_model=RunDetail)
def cancel_run(run_id: str, context: Context) -> RunDetail:
    """Stop a run. One that is being trained writes a checkpoint first and is `cancelling` meanwhile."""
    return _move(context, run_id, runs.cancel)


@router.post("/{run_id}/resume", response_model=RunDetail)
def resume_run(run_id: str, context: Context) -> RunDetail:
    """Queue a failed or cancelled run again; it goes on from its last checkpoint."""
    return _move(context, run_id, runs.resume)


@router.post("/{run_id}/retry", response_model=RunDetail)
def retry_run(run_id: str, context: Context) -> RunDetail:
    """Queue a failed or cancelled run again from its beginning; what it recorded is dropped."""
    return _move(context, run_id, runs.retry)


def _move(context: Studio, run_id: str, move: Callable[[Session, Run], Run]) -> RunDetail:
    with context.database.transaction() as session:
        moved = views.detail(session, move(session, runs.get(session, run_id)))
    context.wake()
    return moved
