"""One action on many runs."""

from __future__ import annotations

import shutil

from fastapi import APIRouter, BackgroundTasks

from backend import artifacts, bulk, runs
from backend.routes.context import Context
from backend.schemas.bulk import BulkOut, BulkRequest

router = APIRouter(prefix="/runs", tags=["runs"])


@router.post("/bulk", response_model=BulkOut)
def act_on_runs(body: BulkRequest, context: Context, later: BackgroundTasks) -> BulkOut:
    """Cancel, resume, retry, delete, tag or prioritise many runs. Each has its own outcome: one refusal stops nothing."""
    out = bulk.perform(context.database, body)
    if body.action == "delete" and not body.dry_run:
        for item in out.items:
            if item.outcome == "done":
                shutil.rmtree(runs.folder(context.settings, item.id), ignore_errors=True)
                later.add_task(artifacts.remove_quietly, context.database, context.settings, item.id)
    if not body.dry_run:
        context.wake()
    return out
