"""The playground: a prompt, and what policies of finished runs make of it. Workers write; this process never loads a model."""

from __future__ import annotations

import logging
import shutil
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Query, Response
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from backend import artifacts, idempotency, runs, trial_views, trials
from backend.models import TRIAL, Run
from backend.routes.context import Context, DryRun, IdempotencyKey, Studio
from backend.routes.paging import Cursor, pack, unpack_numbers
from backend.run_errors import RunError
from backend.schemas.trials import TrialCreate, TrialForm, TrialList, TrialOut

_log = logging.getLogger(__name__)
router = APIRouter(prefix="/trials", tags=["trials"])


@router.post("", status_code=201, response_model=TrialOut)
def create_trial(
    body: TrialCreate, context: Context, response: Response, later: BackgroundTasks, key: IdempotencyKey = None
) -> TrialOut:
    """Let policies of finished runs answer a prompt. A worker does, as soon as one has room; the answers are read from the
    trial while they come. The newest 200 trials are kept."""
    with context.database.transaction() as session:
        row, replayed = idempotency.once(
            session, "trials", key, body,
            make=lambda: trials.create(session, body), find=lambda uid: trials.find(session, uid),
        )  # fmt: skip
        created = trial_views.detail(session, row)
    if replayed:
        response.status_code = 200
    else:
        later.add_task(_forget_old, context)
    response.headers["Location"] = f"/api/v1/trials/{created.id}"
    context.wake()
    return created


@router.get("", response_model=TrialList)
def list_trials(context: Context, cursor: Cursor = None, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> TrialList:
    """Trials, newest first."""
    page = select(Run).where(Run.algorithm == TRIAL).order_by(Run.id.desc()).limit(limit + 1)
    if cursor is not None:
        page = page.where(Run.id < unpack_numbers(cursor, 1)[0])
    with context.database.snapshot() as session:
        rows = session.scalars(page).all()
        more, rows = len(rows) > limit, rows[:limit]
        return TrialList(
            items=[trial_views.summary(row) for row in rows], next_cursor=pack(rows[-1].id) if more else None
        )


@router.get("/form", response_model=TrialForm)
def get_trial_form() -> TrialForm:
    """What can be said of a trial, and within which limits."""
    return TrialForm(request_schema=TrialCreate.model_json_schema())


@router.get("/{trial_id}", response_model=TrialOut)
def get_trial(trial_id: str, context: Context) -> TrialOut:
    """A trial with what was written so far."""
    with context.database.snapshot() as session:
        return trial_views.detail(session, trials.get(session, trial_id))


@router.post("/{trial_id}/cancel", response_model=TrialOut)
def cancel_trial(trial_id: str, context: Context) -> TrialOut:
    """Stop a trial. What was written so far stays."""
    with context.database.transaction() as session:
        runs.cancel(session, trials.get(session, trial_id))
    context.wake()
    return get_trial(trial_id, context)


@router.delete("/{trial_id}", status_code=204)
def delete_trial(trial_id: str, context: Context, later: BackgroundTasks, dry_run: DryRun = False) -> None:
    """Delete a trial that no worker has, with what was written."""
    with context.database.transaction(rehearsed=dry_run) as session:
        row = trials.get(session, trial_id)
        uid = row.uid
        runs.delete(session, row)
    if not dry_run:
        later.add_task(_remove_files, context, uid)


def _forget_old(context: Studio) -> None:
    """In a transaction of its own: what goes wrong here is no concern of who made a new one."""
    try:
        with context.database.transaction() as session:
            gone = trials.forget_old(session)
    except (RunError, SQLAlchemyError) as error:
        _log.warning("old trials were not deleted: %s", error)
        return
    for uid in gone:
        _remove_files(context, uid)


def _remove_files(context: Studio, uid: str) -> None:
    shutil.rmtree(runs.folder(context.settings, uid), ignore_errors=True)
    artifacts.remove_quietly(context.database, context.settings, uid)
