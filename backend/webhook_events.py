"""From the append-only history of runs to messages: what has happened since, for each webhook that wants to know.

A process may die anywhere between the commit of a move and the sending of its message. So nothing is sent from where a
move is made: the history is read again and again, and what a webhook was not told of yet becomes a row of
`webhook_delivery`. Any number of processes may do it at the same time; the unique (webhook, source) lets one of them win.

The place up to which the history was read is a time, with an overlap: moves of long transactions come to light late, and
SQLite gives the numbers of deleted rows out again, so that no number says what was read.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

from sqlalchemy import String, cast, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from backend import views
from backend.database import NOW, Database
from backend.models import TRIAL, Run, RunEvent
from backend.models_sweeps import Sweep, SweepMember
from backend.models_webhooks import Delivery, Webhook
from backend.states import TERMINAL, RunState
from backend.webhooks import message

OVERLAP = 300.0  # seconds: longer than a transaction that makes moves may take
MOST_WAITING = 5000  # deliveries of one webhook; what comes then stays in the history until there is room
_AT_ONCE = 500  # moves that one turn reads
_REFRESH = 30.0  # seconds after which the place is written down although nothing was found
_ENDED = [state.value for state in TERMINAL]
SWEEP_FINISHED = "sweep.finished"


def run_event(target: str) -> str:
    """The name of the event for the state that a run came to.

    >>> run_event("running"), run_event("failed")
    ('run.started', 'run.failed')
    """
    return "run.started" if target == RunState.RUNNING else f"run.{target}"


def collect(database: Database) -> int:
    """Write a delivery for all that enabled webhooks were not told of yet. Returns how many were written."""
    with database.snapshot() as session:
        hooks = list(session.scalars(select(Webhook).where(Webhook.enabled)))
    return sum(_collect_for(database, hook) for hook in hooks)


def _collect_for(database: Database, hook: Webhook) -> int:
    with database.snapshot() as session:
        now = session.scalar(select(NOW)) or 0.0
        waiting = select(func.count()).where(Delivery.webhook_id == hook.id, Delivery.status == "pending")
        if (session.scalar(waiting) or 0) >= MOST_WAITING:
            return 0
        begin = max(hook.since, min(hook.read_until, now) - OVERLAP)
        moves = _untold_moves(session, hook, begin)
        rows = [*_of_moves(session, moves), *_of_sweeps(session, hook, begin)]
    # Where there may be more, the place stays: what is told of is not read again, so the next turn gets the rest.
    until = now if len(moves) < _AT_ONCE else hook.read_until
    if not rows and until - hook.read_until < _REFRESH:
        return 0
    due = {"webhook_id": hook.id, "created_at": now, "next_at": now}
    values = [{"uid": uuid.uuid4().hex, **due, **row} for row in rows]
    with database.transaction() as session:
        written = _write(session, values)
        forward = update(Webhook).where(Webhook.id == hook.id, Webhook.since == hook.since)
        session.execute(forward.values(read_until=until).execution_options(synchronize_session=False))
    return written


def _untold_moves(session: Session, hook: Webhook, begin: float) -> list[tuple[RunEvent, Run]]:
    """Moves that the webhook wants to know of and was not told of: the oldest of them, by time."""
    wanted = [state.value for state in RunState if run_event(state) in hook.events]
    source = Run.uid + ":" + cast(RunEvent.id, String)
    told = select(Delivery.id).where(Delivery.webhook_id == hook.id, Delivery.source == source)
    found = (
        select(RunEvent, Run)
        .join(Run, Run.id == RunEvent.run_id)
        .where(RunEvent.at >= begin, RunEvent.target.in_(wanted), Run.algorithm != TRIAL, ~told.exists())
        .order_by(RunEvent.at, RunEvent.id)
        .limit(_AT_ONCE)
    )
    return [(row.RunEvent, row.Run) for row in session.execute(found)]


def _of_moves(session: Session, moves: list[tuple[RunEvent, Run]]) -> Iterator[dict[str, Any]]:
    for (event, run), summary in zip(moves, views.summaries(session, [run for _, run in moves]), strict=True):
        data = {
            "run": json.loads(summary.model_dump_json()),
            "origin": event.origin, "target": event.target, "reason": event.reason, "actor": event.actor,
        }  # fmt: skip
        kind = run_event(event.target)
        yield {"source": f"{run.uid}:{event.id}", "type": kind, "payload": message(kind, event.at, data)}


def _of_sweeps(session: Session, hook: Webhook, begin: float) -> Iterator[dict[str, Any]]:
    """Sweeps of which a run has ended and none is still to end. Named by the last end, so that a sweep that was resumed
    and ends again is told of again."""
    if SWEEP_FINISHED not in hook.events:
        return
    members = select(SweepMember.sweep_id).join(RunEvent, RunEvent.run_id == SweepMember.run_id)
    touched = members.where(RunEvent.at >= begin, RunEvent.target.in_(_ENDED))
    staying = select(Sweep).where(Sweep.id.in_(touched), Sweep.deleting_at.is_(None))
    for sweep in session.scalars(staying.order_by(Sweep.id)):
        of_it = SweepMember.sweep_id == sweep.id
        joined = select(Run.state).join(SweepMember, SweepMember.run_id == Run.id)
        states = Counter(session.scalars(joined.where(of_it)))
        if any(state not in _ENDED for state in states):
            continue
        last = session.execute(
            select(RunEvent.id, RunEvent.at)
            .join(SweepMember, SweepMember.run_id == RunEvent.run_id)
            .where(of_it, RunEvent.target.in_(_ENDED))
            .order_by(RunEvent.at.desc(), RunEvent.id.desc())
            .limit(1)
        ).one()
        # Where the run that ended last was deleted since, what was told was a later end.
        mine = select(Delivery.id).where(
            Delivery.webhook_id == hook.id, Delivery.source.like(f"{sweep.uid}:%"), Delivery.created_at >= last.at
        )
        if session.scalar(mine.limit(1)) is None:
            source = f"{sweep.uid}:{last.id}"
            data = {"sweep": {"id": sweep.uid, "name": sweep.name, "states": dict(states)}}
            yield {"source": source, "type": SWEEP_FINISHED, "payload": message(SWEEP_FINISHED, last.at, data)}


def _write(session: Session, rows: list[dict[str, Any]]) -> int:
    if not rows:
        return 0
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    return sum(
        session.execute(dialect.insert(Delivery).values(row).on_conflict_do_nothing().returning(Delivery.id)).first()
        is not None
        for row in rows
    )
