"""Runs: launch, list, look at, change, stop, start again, delete."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, BackgroundTasks, Query, Response
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend import artifacts, edits, idempotency, run_filter, runs, views
from backend.data_checks import DataChecks
from backend.errors import Invalid
from backend.models import TRIAL, Run
from backend.preconditions import IfMatch
from backend.routes.context import Context, DryRun, IdempotencyKey, Studio
from backend.routes.paging import pack, unpack
from backend.schemas.runs import RunCreate, RunDetail, RunFieldList, RunFieldOut, RunList, RunPatch
from backend.states import RunState
from copg_core.config import Algorithm

router = APIRouter(prefix="/runs", tags=["runs"])


@router.post("", status_code=201, response_model=RunDetail)
def create_run(body: RunCreate, context: Context, response: Response, key: IdempotencyKey = None) -> RunDetail:
    """Queue a run. Its configuration and data are checked first; a run whose parents are not done yet waits for them."""
    if (wrong := DataChecks.of(context.database, context.settings).error(body.config)) is not None:
        raise Invalid.field("config.data", wrong)
    with context.database.transaction() as session:
        run, replayed = idempotency.once(
            session, "runs", key, body,
            make=lambda: runs.create(session, body.config, name=body.name, notes=body.notes, tags=body.tags,
                                     priority=body.priority, queue=body.queue or context.settings.queue,
                                     schedule=body.schedule),
            find=lambda uid: runs.find(session, uid),
        )  # fmt: skip
        created = views.detail(session, run)
    if replayed:
        response.status_code = 200
    response.headers["Location"] = f"/api/v1/runs/{created.id}"
    response.headers["ETag"] = edits.etag(run)
    context.wake()
    return created


Where = Annotated[
    list[str] | None,
    Query(
        description="A condition that a run has to fulfil, `field operator value`, all of them where there are several. Fields "
        "are those of a run, `tags`, `pipeline` and every value of the configuration, as in `config.beta>=0.03`, "
        "`config.optimizer.learning_rate<1e-5`, `tags=paper`, `state=failed,cancelled`, `name~tuned`, `last_reward!=null`. "
        "Operators: = != < <= > >= and ~ (contains). GET /runs/fields lists the fields, docs/api.md has the grammar.",
        examples=[["config.beta>=0.03", "tags=paper"]],
    ),
]


@router.get("", response_model=RunList)
def list_runs(
    context: Context,
    where: Where = None,
    state: Annotated[list[RunState] | None, Query(description="Only these; may be given several times.")] = None,
    algorithm: Annotated[list[Algorithm] | None, Query(description="Only these; may be given several times.")] = None,
    pipeline: Annotated[str | None, Query(description="Only the runs of this pipeline.")] = None,
    sweep: Annotated[str | None, Query(description="Only the runs of this sweep.")] = None,
    search: Annotated[
        str, Query(max_length=200, description="Words that all stand in name, id, tags, notes or configuration.")
    ] = "",
    sort: Annotated[
        str,
        Query(
            max_length=220,
            description="The field to sort by, with a minus for the largest first. Any field of `where` with one value.",
            examples=["-config.beta"],
        ),
    ] = "-created_at",
    order: Annotated[
        Literal["asc", "desc"] | None, Query(description="Overrides the sign of `sort`.", deprecated=True)
    ] = None,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> RunList:
    """Runs, newest first unless asked otherwise. Missing values stand at the end in either order."""
    with context.database.snapshot() as session:
        chosen = [*run_filter.matching(session, where or []), *run_filter.mentioning(search)]
        if state:
            chosen.append(Run.state.in_(state))
        if algorithm:
            chosen.append(Run.algorithm.in_(algorithm))
        for group, uid in (("pipeline", pipeline), ("sweep", sweep)):
            if uid is not None:
                chosen.append(run_filter.part_of(group, [uid]))
        by = run_filter.ordered(session, sort, order)
        # With conditions, finding the runs costs more than anything else: they are counted on the way.
        count_here = bool(chosen) and cursor is None
        chosen.append(Run.algorithm != TRIAL)
        counted = [func.count().over().label("total")] if count_here else []
        page = by.apply(select(Run.id, by.expression.label("value"), *counted).where(*chosen)).limit(limit + 1)
        if cursor is not None:
            name, descending, value, last = unpack(cursor, 4)
            if (name, descending) != (by.name, by.descending):
                raise Invalid.field("cursor", "this cursor belongs to a list in another order")
            page = page.where(by.after(value, last))
        # Numbers first, then the rows: sorting whole rows would carry every configuration along.
        found = session.execute(page).all()
        if count_here:
            total = found[0].total if found else 0
        else:
            total = session.scalar(select(func.count()).select_from(Run).where(*chosen)) or 0
        more, found = len(found) > limit, found[:limit]
        rows = {run.id: run for run in session.scalars(select(Run).where(Run.id.in_([row.id for row in found])))}
        items = views.summaries(session, [rows[row.id] for row in found if row.id in rows])
    next_cursor = pack(by.name, by.descending, found[-1].value, found[-1].id) if more else None
    return RunList(items=items, next_cursor=next_cursor, total=total)


@router.get("/fields", response_model=RunFieldList)
def list_run_fields(context: Context) -> RunFieldList:
    """What runs can be filtered and sorted by: a run's own fields, and each value that a configuration may have."""
    with context.database.snapshot() as session:
        known = run_filter.known_fields(session)
    return RunFieldList(items=[RunFieldOut(field=field, kind=kind) for field, kind in known.items()])


@router.get("/{run_id}", response_model=RunDetail)
def get_run(run_id: str, context: Context, response: Response) -> RunDetail:
    """One run: configuration, parents and children, history, report. Its ETag changes when somebody edits it."""
    with context.database.snapshot() as session:
        run = runs.get(session, run_id)
        response.headers["ETag"] = edits.etag(run)
        return views.detail(session, run)


@router.patch("/{run_id}", response_model=RunDetail)
def update_run(
    run_id: str, body: RunPatch, context: Context, response: Response, if_match: IfMatch = None
) -> RunDetail:
    """Change name, notes, tags or, while the run waits for its turn, what it asks of the queue; what is not named stays.

    With If-Match the change is made only where nobody else has edited the run since.
    """
    with context.database.transaction() as session:
        run = edits.locked(session, run_id, if_match)
        run = edits.edit(session, run, body.model_dump(exclude_none=True))
        response.headers["ETag"] = edits.etag(run)
        return views.detail(session, run)


@router.delete("/{run_id}", status_code=204)
def delete_run(
    run_id: str, context: Context, later: BackgroundTasks, if_match: IfMatch = None, dry_run: DryRun = False
) -> None:
    """Delete a run that is not being trained and that no other run refers to, with its files."""
    with context.database.transaction(rehearsed=dry_run) as session:
        run = edits.locked(session, run_id, if_match)
        uid = run.uid
        runs.delete(session, run)
    if dry_run:
        return
    shutil.rmtree(runs.folder(context.settings, uid), ignore_errors=True)
    later.add_task(artifacts.remove_quietly, context.database, context.settings, uid)


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
