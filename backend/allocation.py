"""Room on a worker for one run: GPUs and CPU slots, taken in the transaction of the claim.

The worker's row is locked first, so that two claims on one worker take turns; the unique index on taken GPUs holds where
two workers see one device. GPUs are freed by `moves.move`, whichever way the run leaves its worker.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, aliased

from backend.models import Node, Run
from backend.models_machines import Gpu
from backend.states import OWNED

MIG = "MIG-"
"""How the UUID of a slice of a GPU begins. One process can use one slice only, so runs on several GPUs never get any."""


@dataclass(frozen=True)
class Room:
    """GPUs that a claim may take, by index and UUID; none: a CPU slot. `node_id` is None for a worker without a row."""

    node_id: int | None
    gpus: tuple[tuple[int, str], ...] = ()

    @property
    def uuids(self) -> tuple[str, ...]:
        return tuple(uuid for _, uuid in self.gpus)

    @property
    def devices(self) -> int:
        """How many a run holds in it: its GPUs, or one CPU slot."""
        return max(1, len(self.gpus))

    def __str__(self) -> str:
        return f"GPU {', '.join(str(index) for index, _ in self.gpus)}" if self.gpus else "processor"


def find(session: Session, owner: str, wanted: int | None, config_schema: int) -> Room | None:
    """Room on the worker `owner`, which stays locked to others until the transaction ends; None where there is none.

    A worker that never said what it has trains runs that ask for nothing.
    """
    node = session.execute(
        select(Node.id, Node.cpu_slots, Node.config_schema).where(Node.name == owner).with_for_update()
    ).one_or_none()
    if node is None:
        return None if wanted else Room(None)
    if node.config_schema < config_schema:
        return None
    gpus = select(func.count()).select_from(Gpu).where(Gpu.node_id == node.id)
    count = (1 if session.scalar(gpus) else 0) if wanted is None else wanted
    if count == 0:
        return Room(node.id) if _busy_cpu_slots(session, owner) < node.cpu_slots else None
    other = aliased(Gpu)
    taken = select(other.uuid).where(other.run_id.is_not(None))
    free = (
        select(Gpu.index, Gpu.uuid)
        .where(Gpu.node_id == node.id, Gpu.run_id.is_(None), Gpu.uuid.not_in(taken))
        .order_by(Gpu.index)
    )
    if count > 1:
        free = free.where(Gpu.uuid.not_like(f"{MIG}%"))
    found = session.execute(free.limit(count)).all()
    return Room(node.id, tuple((index, uuid) for index, uuid in found)) if len(found) == count else None


def _busy_cpu_slots(session: Session, owner: str) -> int:
    holds_gpu = select(Gpu.run_id).where(Gpu.run_id.is_not(None))
    mine = [Run.owner == owner, Run.state.in_([state.value for state in OWNED]), Run.id.not_in(holds_gpu)]
    return session.scalar(select(func.count()).select_from(Run).where(*mine)) or 0


def take(session: Session, run_id: int, room: Room) -> None:
    """Book the room's GPUs for the run. Raises IntegrityError where another worker took one at the same moment."""
    if room.gpus:
        session.execute(
            update(Gpu)
            .where(Gpu.node_id == room.node_id, Gpu.index.in_([index for index, _ in room.gpus]))
            .values(run_id=run_id)
            .execution_options(synchronize_session=False)
        )
