"""What people change about a run: name, notes, tags, what it asks of the queue. Two who edit at once do not overwrite each other.

`edited` counts the edits and is the run's ETag; `edits` remembers which field was changed by which, so that who comes too
late is told what the others changed.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend import preconditions, run_fields, runs
from backend.database import NOW
from backend.errors import PreconditionFailed
from backend.models import TRIAL, Run
from backend.run_errors import RunNotFound
from backend.schemas.problems import FieldError

_ASKED = {"priority", "gpus", "max_attempts", "max_seconds"}  # of the queue
_FOUND_BY = {"name", "notes", "tags"}
_SHOWN = 200  # characters of a value in an error


def etag(run: Run) -> str:
    """The run's ETag: it changes with each edit, and with nothing else."""
    return preconditions.quoted(run.edited)


def locked(session: Session, uid: str, if_match: str | None = None) -> Run:
    """The run, kept from other writers until the transaction ends. Raises RunNotFound and PreconditionFailed."""
    query = select(Run).where(Run.uid == uid, Run.algorithm != TRIAL).with_for_update()
    query = query.execution_options(populate_existing=True)
    run = session.scalars(query).one_or_none()
    if run is None:
        raise RunNotFound(uid)
    wanted = preconditions.names(if_match)
    if wanted is not None and str(run.edited) not in wanted:
        raise _too_late(run, wanted)
    return run


def edit(session: Session, run: Run, changes: dict[str, Any]) -> Run:
    """Change a `locked` run: a value for each field that changes. Nothing is counted where all are as they were.

    Raises StateConflict where what it asks of the queue changes and it no longer waits for its turn.
    """
    values = {field: value for field, value in changes.items() if getattr(run, field) != value}
    if not values:
        return run
    if asked := {field: value for field, value in values.items() if field in _ASKED}:
        runs.reschedule(session, run, **asked)
    marks = {**run.edits, **dict.fromkeys(values, run.edited + 1)}
    session.execute(
        update(Run)
        .where(Run.id == run.id)
        .values(**values, edited=run.edited + 1, edits=marks, rev=Run.rev + 1, changed_at=NOW)
        .execution_options(synchronize_session=False)
    )
    run = runs.get(session, run.uid)
    if values.keys() & _FOUND_BY:
        run_fields.rewrite(session, run)
    return run


def _too_late(run: Run, wanted: list[str]) -> PreconditionFailed:
    known = [int(tag) for tag in wanted if tag.isascii() and tag.isdigit() and int(tag) < run.edited]
    since = max(known, default=None)
    changed = [field for field, edited in run.edits.items() if since is not None and edited > since]
    what = f"{' and '.join(changed)} of run {run.name!r}" if changed else f"run {run.name!r}"
    verb = "were" if len(changed) > 1 else "was"
    return PreconditionFailed(
        f"{what} {verb} changed after you read it: read it again, then decide",
        [FieldError(field=field, message=f"is now {_shown(getattr(run, field))}") for field in changed],
    )


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
