"""Reads the workers and the line, lets `placement` decide, and gives the wake-ups that are to be sent."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, or_, select, update
from sqlalchemy.orm import Session

from backend import queue_control
from backend.allocation import MIG
from backend.database import NOW
from backend.models import Node, Run
from backend.models_machines import Gpu
from backend.placement import Place, Plan, Wish, plan
from backend.queue import node_queue
from backend.settings import Settings
from backend.states import OWNED, RunState
from copg_core.config import CONFIG_SCHEMA

_LOCK = 0x436F5051  # "CoPQ"
_AHEAD = 200  # runs of a line that one turn looks at
LINE = (Run.priority.desc(), Run.created_at, Run.id)
"""The order of the line: strictly by priority, then by age."""


def due_hints(session: Session, settings: Settings) -> list[tuple[str, str]]:
    """(uid, queue of the worker) of the runs to send a wake-up for: at most one for each free slot or set of GPUs.

    They are marked as offered in this transaction; the caller sends after its commit. A message that is lost in between
    is sent again after `republish_seconds`. While everything is busy nothing piles up in the broker. Of several
    processes that ask at once one decides and the others get nothing.
    """
    if session.get_bind().dialect.name == "postgresql" and not session.scalar(
        select(func.pg_try_advisory_xact_lock(_LOCK))
    ):
        return []
    places = living_places(session, settings)
    if not places or queue_control.read(session).paused:
        return []
    wishes = [wish for queue in sorted({place.queue for place in places})
              for wish in _front(session, settings, _may_start(queue, places))]  # fmt: skip
    made = plan(wishes, places, paused=False, reserve_seconds=settings.reserve_seconds)
    _remember(session, made, {place.queue for place in places})
    return _offer(session, made)


def _front(session: Session, settings: Settings, where: list[ColumnElement[bool]]) -> list[Wish]:
    """The front of a line that one turn looks at. Of a longer line the front for each number of GPUs that is asked for: 200
    runs that wait for a GPU must not hide one that a free processor could train."""
    front = read_line(session, settings, _AHEAD, *where)
    if len(front) < _AHEAD:
        return front
    queued = [Run.state == RunState.QUEUED.value, *where]
    ids: list[int] = []
    for gpus in session.scalars(select(Run.gpus).where(*queued).distinct()).all():
        same = select(Run.id).where(*queued, Run.gpus.is_not_distinct_from(gpus))
        ids += session.scalars(same.order_by(*LINE).limit(_AHEAD))
    return read_line(session, settings, len(ids), Run.id.in_(ids))


def _may_start(queue: str, places: Sequence[Place]) -> list[ColumnElement[bool]]:
    """Leaves out what cannot start now anyway, so that it never hides those behind it."""
    able = [place for place in places if place.queue == queue and not place.draining]
    largest = max((max(place.gpus, place.whole_gpus) for place in able), default=0)
    newest = max((place.config_schema for place in able), default=0)
    fits = or_(Run.gpus.is_(None), Run.gpus <= largest)
    return [Run.queue == queue, Run.not_before <= NOW, Run.config_schema <= newest, fits]


def living_places(session: Session, settings: Settings) -> list[Place]:
    """Workers that were heard of within a lease, with what is free there: runs on the way are not counted yet."""
    nodes = session.scalars(select(Node).where(Node.seen > NOW - settings.lease_seconds).order_by(Node.name)).all()
    if not nodes:
        return []
    gpus = session.execute(select(Gpu.node_id, Gpu.uuid, Gpu.run_id)).all()
    taken = {gpu.uuid for gpu in gpus if gpu.run_id is not None}
    on_gpus = {gpu.run_id for gpu in gpus}
    owned = select(Run.id, Run.owner).where(Run.state.in_([state.value for state in OWNED]))
    on_cpu = Counter(run.owner for run in session.execute(owned) if run.id not in on_gpus)
    places = []
    for node in nodes:
        mine = [gpu for gpu in gpus if gpu.node_id == node.id]
        free = [gpu for gpu in mine if gpu.uuid not in taken]
        places.append(
            Place(
                name=node.name,
                queue=node.queue,
                gpus=len(mine),
                free_gpus=len(free),
                whole_gpus=sum(not gpu.uuid.startswith(MIG) for gpu in mine),
                free_whole_gpus=sum(not gpu.uuid.startswith(MIG) for gpu in free),
                cpu_slots=node.cpu_slots,
                free_cpu_slots=node.cpu_slots - on_cpu[node.name],
                draining=node.draining,
                config_schema=node.config_schema,
            )
        )
    return places


def obstacle(session: Session, settings: Settings, gpus: int | None) -> str | None:
    """Why none of the workers that are here could train a new run with so many GPUs, whatever else waits; None where one could."""
    wish = Wish(0, "", settings.queue, gpus, CONFIG_SCHEMA)
    [decision] = plan([wish], living_places(session, settings), paused=False, reserve_seconds=math.inf).decisions
    return None if decision.place is not None or decision.lacks_room else decision.reason


def read_line(session: Session, settings: Settings, limit: int, *where: ColumnElement[bool]) -> list[Wish]:
    """The queued runs that match, in the order of the line."""
    on_the_way = and_(Run.published_at > NOW - settings.republish_seconds, Run.offered_to.is_not(None))
    rows = session.execute(
        select(
            Run.id, Run.name, Run.queue, Run.gpus, Run.config_schema, (Run.not_before - NOW).label("delay"),
            (NOW - Run.head_since).label("headed"), case((on_the_way, Run.offered_to)).label("offered_to"),
            Run.reserved_node.label("reserved"),
        )
        .where(Run.state == RunState.QUEUED.value, *where)
        .order_by(*LINE)
        .limit(limit)
    ).all()  # fmt: skip
    return [Wish(**row._mapping) for row in rows]


def _remember(session: Session, made: Plan, queues: set[str]) -> None:
    """Write down who stands first in vain and since when, and who has a worker kept free. Writes only what changes."""
    queued = Run.state == RunState.QUEUED.value
    heads = list(made.heads.values())
    _set(session, [queued, Run.id.in_(heads), Run.head_since.is_(None)], head_since=NOW)
    for run_id, name in made.reservations.items():
        _set(session, [queued, Run.id == run_id, Run.reserved_node.is_distinct_from(name)], reserved_node=name)
    stale = [queued, Run.queue.in_(queues), Run.head_since.is_not(None), Run.id.not_in(heads)]
    _set(session, stale, head_since=None, reserved_node=None)


def _offer(session: Session, made: Plan) -> list[tuple[str, str]]:
    chosen: dict[str, list[int]] = {}
    for decision in made.decisions:
        if decision.place is not None:
            chosen.setdefault(decision.place, []).append(decision.wish.id)
    order = {decision.wish.id: count for count, decision in enumerate(made.decisions)}
    sent: list[tuple[int, str, str]] = []
    for place, ids in chosen.items():
        rows = session.execute(
            update(Run)
            .where(_free(Run.id.in_(ids), Run.state == RunState.QUEUED.value))
            .values(published_at=NOW, offered_to=place)
            .returning(Run.id, Run.uid)
            .execution_options(synchronize_session=False)
        ).all()
        sent += [(order[row.id], row.uid, node_queue(place)) for row in rows]
    return [(uid, queue) for _, uid, queue in sorted(sent)]


def _set(session: Session, where: list[ColumnElement[bool]], **values: Any) -> None:
    session.execute(update(Run).where(_free(*where)).values(**values).execution_options(synchronize_session=False))


def _free(*where: ColumnElement[bool]) -> ColumnElement[bool]:
    """Matching runs that nobody else is changing. The others are left to a later turn: this one writes in the order of the line, and
    who steers a whole sweep locks in the order of numbers; if either waited for the other, both could wait for ever."""
    return Run.id.in_(select(Run.id).where(*where).with_for_update(skip_locked=True, key_share=True))
