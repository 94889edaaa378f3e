"""One action on many runs: each in a transaction of its own, with its own outcome. A refusal stops nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend import edits, run_filter, runs, views
from backend.database import Database
from backend.models import TRIAL, Run
from backend.run_errors import RunNotFound, StateConflict
from backend.schemas.bulk import MOST, BulkAction, BulkItem, BulkOut, BulkRequest

Act = Callable[[Session, Run], Run | None]
_CHILDREN_FIRST: frozenset[BulkAction] = frozenset({"cancel", "delete"})


def perform(database: Database, request: BulkRequest) -> BulkOut:
    """Do it, or only say what it would do (`dry_run`). Raises Invalid for a wrong condition.

    Parents come before their children, the other way round where a parent would take its children along or is kept by
    them. A rehearsal is one transaction, so that it finds the parents as the real one would; it is taken back.
    """
    chosen, remaining = _chosen(database, request)
    act = _act(request)
    if request.dry_run:
        with database.transaction(rehearsed=True) as session:
            items = [_one(session, act, uid) for uid in chosen]
    else:
        items = []
        for uid in chosen:
            with database.transaction() as session:
                items.append(_one(session, act, uid))
    done = sum(item.outcome == "done" for item in items)
    return BulkOut(
        action=request.action,
        dry_run=request.dry_run,
        done=done,
        refused=len(items) - done,
        remaining=remaining,
        items=items,
    )


def _chosen(database: Database, request: BulkRequest) -> tuple[Sequence[str], int]:
    """Public ids in the order in which they are taken, and how many more there are. Unknown ids come last."""
    newest_first = Run.id.desc() if request.action in _CHILDREN_FIRST else Run.id.asc()
    with database.snapshot() as session:
        if request.ids is not None:
            wanted = list(dict.fromkeys(request.ids))
            known = list(session.scalars(select(Run.uid).where(Run.uid.in_(wanted)).order_by(newest_first)))
            return [*known, *(uid for uid in wanted if uid not in set(known))], 0
        where = [Run.algorithm != TRIAL, *run_filter.matching(session, request.where or [])]
        total = session.scalar(select(func.count()).select_from(Run).where(*where)) or 0
        uids = session.scalars(select(Run.uid).where(*where).order_by(newest_first).limit(MOST)).all()
    return uids, max(0, total - len(uids))


def _one(session: Session, act: Act, uid: str) -> BulkItem:
    name = ""
    try:
        with session.begin_nested():
            run = edits.locked(session, uid)
            name = run.name
            after = act(session, run)
            summary = None if after is None else views.summaries(session, [after])[0]
            return BulkItem(id=uid, name=name, outcome="done", reason="", run=summary)
    except (RunNotFound, StateConflict) as refusal:
        return BulkItem(id=uid, name=name, outcome="refused", reason=str(refusal), run=None)


def _act(request: BulkRequest) -> Act:
    match request.action:
        case "cancel":
            return runs.cancel
        case "resume":
            return runs.resume
        case "retry":
            return runs.retry
        case "delete":
            return runs.delete
        case "tag":
            return lambda session, run: _tag(session, run, list(dict.fromkeys([*run.tags, *request.tags])))
        case "untag":
            return lambda session, run: _tag(session, run, [tag for tag in run.tags if tag not in request.tags])
        case "priority":
            return lambda session, run: edits.edit(session, run, {"priority": request.priority})


def _tag(session: Session, run: Run, tags: list[str]) -> Run:
    if len(tags) > 20:
        raise StateConflict(f"run {run.name!r} would have {len(tags)} tags; 20 are the most")
    return edits.edit(session, run, {"tags": tags})
