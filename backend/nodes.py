"""Workers that take runs: what they say about themselves, and which of their slots are free."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from backend.claims import due
from backend.database import NOW
from backend.models import Node, Run
from backend.settings import Settings
from backend.states import OWNED, RunState

_FORGET_SECONDS = 86_400.0


def register(
    session: Session,
    name: str,
    *,
    host: str,
    pid: int,
    queue: str,
    slots: int,
    version: str,
    devices: list[dict[str, Any]],
) -> None:
    """A worker's heartbeat; its first one makes the row. Workers that were silent for a day are forgotten."""
    facts = {"host": host, "pid": pid, "queue": queue, "slots": slots, "version": version, "devices": devices}
    if not session.execute(update(Node).where(Node.name == name).values(seen=NOW, **facts).returning(Node.id)).all():
        session.execute(insert(Node).values(name=name, started_at=NOW, seen=NOW, **facts))
        session.execute(delete(Node).where(Node.seen < NOW - _FORGET_SECONDS))


def forget(session: Session, name: str) -> None:
    """A worker that leaves takes its row with it."""
    session.execute(delete(Node).where(Node.name == name))


def silent_seconds(session: Session, name: str) -> float | None:
    """How long ago the worker was heard of, by the database's clock; None where it never was."""
    return session.scalar(select(NOW - Node.seen).where(Node.name == name))


def due_hints(session: Session, settings: Settings) -> list[tuple[str, str]]:
    """(uid, queue) of the runs to send a wake-up for: at most one for each free slot, the highest priority first.

    They are marked as published in this transaction; the caller sends after its commit. A message that is lost in
    between is sent again after `republish_seconds`. While all slots are busy nothing piles up in the broker.
    """
    slots = session.execute(
        select(Node.queue, func.sum(Node.slots)).where(Node.seen > NOW - settings.lease_seconds).group_by(Node.queue)
    ).all()
    if not slots:
        return []
    taken: Counter[str] = Counter()
    flying = (Run.state == RunState.QUEUED.value) & (Run.published_at > NOW - settings.republish_seconds)
    owned = Run.state.in_([state.value for state in OWNED])
    for queue, count in session.execute(select(Run.queue, func.count()).where(owned | flying).group_by(Run.queue)):
        taken[queue] += count
    hints: list[tuple[str, str]] = []
    for queue, total in slots:
        free = int(total) - taken[queue]
        if free <= 0:
            continue
        wanted = [Run.queue == queue, *due(settings.republish_seconds)]
        best = select(Run.id).where(*wanted).order_by(Run.priority.desc(), Run.created_at, Run.id).limit(free)
        ids = session.scalars(best.with_for_update(skip_locked=True)).all()
        if ids:
            sent = update(Run).where(Run.id.in_(ids), *wanted).values(published_at=NOW).returning(Run.uid)
            found = session.scalars(sent.execution_options(synchronize_session=False)).all()
            hints += [(uid, queue) for uid in found]
    return hints
