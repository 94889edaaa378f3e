"""Workers that take runs: what they say about themselves, and whether they are asked to leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from backend.database import NOW
from backend.models import Node
from backend.models_machines import Gpu

_FORGET_SECONDS = 86_400.0


@dataclass(frozen=True)
class GpuReading:
    """A GPU, or a MIG slice of one, as the driver reports it. Memory in bytes, utilisation in percent."""

    index: int
    uuid: str
    name: str
    memory_total: int | None = None
    memory_used: int | None = None
    utilisation: int | None = None


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
    gpus: Sequence[GpuReading] = (),
    cpu_slots: int | None = None,
    config_schema: int = 1,
    draining: bool = False,
    first: bool = False,
) -> float:
    """A worker's heartbeat; its first one makes the row. Workers that were silent for a day are forgotten. Returns the database's
    time of it.

    `slots` counts all runs that fit at once, `cpu_slots` those that need no GPU (None: all). A worker that was asked to
    leave stays so until it has left; the `first` heartbeat of a process is of one that nobody has asked yet.
    """
    facts = {
        "host": host, "pid": pid, "queue": queue, "slots": slots, "version": version, "devices": devices,
        "cpu_slots": slots if cpu_slots is None else cpu_slots, "config_schema": config_schema,
    }  # fmt: skip
    fresh = {"draining": False, "started_at": NOW} if first else {}
    known = update(Node).where(Node.name == name).values(seen=NOW, **facts, **fresh).returning(Node.id, Node.seen)
    row = session.execute(known.execution_options(synchronize_session=False)).one_or_none()
    if row is None:
        new = insert(Node).values(name=name, started_at=NOW, seen=NOW, **facts).returning(Node.id, Node.seen)
        row = session.execute(new).one()
        session.execute(delete(Node).where(Node.seen < NOW - _FORGET_SECONDS))
    if draining:
        request_drain(session, name)
    _write_gpus(session, row.id, gpus)
    return float(row.seen)


def _write_gpus(session: Session, node_id: int, gpus: Sequence[GpuReading]) -> None:
    """A GPU that vanished while a run has it keeps its row until the run is gone: the run's claim must stay visible."""
    known = dict(session.execute(select(Gpu.uuid, Gpu.index).where(Gpu.node_id == node_id)).all())
    seen = {gpu.uuid: gpu for gpu in gpus}
    if known == {uuid: gpu.index for uuid, gpu in seen.items()}:
        for gpu in gpus:
            live = {"memory_used": gpu.memory_used, "utilisation": gpu.utilisation}
            session.execute(
                update(Gpu)
                .where(Gpu.node_id == node_id, Gpu.index == gpu.index)
                .values(**live)
                .execution_options(synchronize_session=False)
            )
        return
    free = delete(Gpu).where(Gpu.node_id == node_id, Gpu.run_id.is_(None))
    session.execute(free.execution_options(synchronize_session=False))
    kept = session.execute(select(Gpu.uuid, Gpu.index).where(Gpu.node_id == node_id)).all()
    uuids, indices = {uuid for uuid, _ in kept}, {index for _, index in kept}
    fresh = [gpu for gpu in gpus if gpu.uuid not in uuids and gpu.index not in indices]
    if fresh:
        session.execute(insert(Gpu), [{"node_id": node_id, **vars(gpu)} for gpu in fresh])


def request_drain(session: Session, name: str) -> bool:
    """Ask a worker to hand its runs back with a checkpoint and leave. False where there is none of this name."""
    asked = update(Node).where(Node.name == name).values(draining=True).returning(Node.id)
    return bool(session.execute(asked.execution_options(synchronize_session=False)).all())


def is_draining(session: Session, name: str) -> bool:
    """Whether the worker was asked to leave."""
    return bool(session.scalar(select(Node.draining).where(Node.name == name)))


def forget(session: Session, name: str) -> None:
    """A worker that leaves takes its row with it."""
    session.execute(delete(Node).where(Node.name == name))


def silent_seconds(session: Session, name: str) -> float | None:
    """How long ago the worker was heard of, by the database's clock; None where it never was."""
    return session.scalar(select(NOW - Node.seen).where(Node.name == name))
