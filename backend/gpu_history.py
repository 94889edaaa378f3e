"""What GPUs did over the last two days: written with each heartbeat, read thinned, pruned by the web process.

It belongs to the GPU and not to the worker that read it: a worker that is started again has another name, and what a GPU
did before its worker died is what one wants to see. So nothing here goes when a worker does; time alone takes it away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import BigInteger, CursorResult, cast, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from backend.database import NOW, Database
from backend.loops import Loop
from backend.models_machines import GpuDevice, GpuSample
from backend.nodes import GpuReading

KEPT_HOURS = 48
POINTS = 240  # of a GPU, at most one more at either end


class Point(NamedTuple):
    """Samples of one GPU that lie close to each other: when the first and the last were taken (s since 1970), how long after
    one the next is due (s), their mean use (percent) and the most memory that was used (bytes)."""

    first: float
    last: float
    period: float
    use: float | None
    memory: int | None


@dataclass(frozen=True)
class Line:
    """A GPU and what it did."""

    host: str
    index: int
    uuid: str
    name: str
    memory_total: int | None
    points: Sequence[Point]


@dataclass(frozen=True)
class History:
    """What the GPUs of `lines` did between two moments, thinned to a point for each `width` seconds.

    `hosts`: all machines of which something is known, not only those of the lines. `newest`: when any GPU was last heard of.
    """

    since: float
    until: float
    width: float
    hosts: Sequence[str]
    newest: float | None
    lines: Sequence[Line]


def record(session: Session, at: float, period: float, host: str, gpus: Sequence[GpuReading]) -> None:
    """Remember what the GPUs of a worker do at its heartbeat `at`, by the database's clock; the next is due in `period` s."""
    if not gpus:
        return
    ids = _known(session, host, sorted(gpus, key=lambda gpu: gpu.uuid))
    rows = [
        {"at": at, "device_id": ids[gpu.uuid], "period": period, "utilisation": gpu.utilisation, "memory_used": gpu.memory_used}
        for gpu in gpus
    ]  # fmt: skip
    # Two workers may see the same GPU, and SQLite's clock counts milliseconds.
    session.execute(_insert(session, GpuSample).on_conflict_do_nothing(), rows)


def newest(session: Session) -> tuple[float, float | None]:
    """The time by the database's clock, and when any GPU was last heard of: None where none was within the time that is kept."""
    now, last = session.execute(select(NOW, select(func.max(GpuSample.at)).scalar_subquery())).one()
    return now, last


def width(hours: int) -> float:
    """Seconds that a point stands for where `hours` are shown."""
    return hours * 3600 / POINTS


def prune(session: Session) -> int:
    """Forget what is older than KEPT_HOURS, and GPUs of which nothing is left. Returns how many samples went."""
    old = delete(GpuSample).where(GpuSample.at < NOW - KEPT_HOURS * 3600)
    gone: CursorResult[tuple[()]] = session.execute(old)  # type: ignore[assignment]
    session.execute(delete(GpuDevice).where(GpuDevice.id.not_in(select(GpuSample.device_id))))
    return gone.rowcount


class Pruner(Loop):
    """Once an hour and not with a heartbeat, which must be quick. A day late, nothing is wrong but the size of the table."""

    def __init__(self, database: Database) -> None:
        super().__init__("prune", seconds=3600.0)
        self._database = database

    def step(self) -> None:
        with self._database.transaction() as session:
            prune(session)


def load(session: Session, hours: int, host: str | None = None) -> History:
    """The last `hours` of all GPUs, or of those of one machine, by the names of machines and the numbers of GPUs there.

    Points lie in cells of equal width that stand still while time goes on, so that a curve that is read again has the same
    points. Who was silent within a cell is not seen to have been.
    """
    until, last = newest(session)
    since = until - hours * 3600
    devices = session.scalars(select(GpuDevice).order_by(GpuDevice.host, GpuDevice.index, GpuDevice.uuid)).all()
    chosen = {device.id: device for device in devices if host is None or device.host == host}
    # Truncated by one database, rounded by the other: equal widths either way.
    cell = cast(GpuSample.at / width(hours), BigInteger)
    found = session.execute(
        select(
            GpuSample.device_id, func.min(GpuSample.at), func.max(GpuSample.at), func.max(GpuSample.period),
            func.avg(GpuSample.utilisation), func.max(GpuSample.memory_used),
        )
        .where(GpuSample.at > since, *([] if host is None else [GpuSample.device_id.in_(list(chosen))]))
        .group_by(GpuSample.device_id, cell)
        .order_by(GpuSample.device_id, func.min(GpuSample.at))
    ).all()  # fmt: skip
    points: dict[int, list[Point]] = {device_id: [] for device_id in chosen}
    for device_id, first, latest, period, use, memory in found:
        if device_id in points:
            points[device_id].append(Point(first, latest, period, None if use is None else float(use), memory))
    lines = [
        Line(device.host, device.index, device.uuid, device.name, device.memory_total, points[device.id])
        for device in chosen.values()
        if points[device.id]
    ]
    return History(since, until, width(hours), sorted({device.host for device in devices}), last, lines)


def _known(session: Session, host: str, gpus: Sequence[GpuReading]) -> dict[str, int]:
    """Ids of the GPUs, by UUID, after what is said of them is written."""
    found = select(GpuDevice).where(GpuDevice.uuid.in_([gpu.uuid for gpu in gpus]))
    known = {device.uuid: device for device in session.scalars(found)}
    for gpu in gpus:
        facts = {"host": host, "index": gpu.index, "name": gpu.name, "memory_total": gpu.memory_total}
        device = known.get(gpu.uuid)
        if device is None:
            session.execute(_insert(session, GpuDevice).values(uuid=gpu.uuid, **facts).on_conflict_do_nothing())
        elif any(getattr(device, key) != value for key, value in facts.items()):
            session.execute(update(GpuDevice).where(GpuDevice.id == device.id).values(**facts))
    ids = select(GpuDevice.uuid, GpuDevice.id).where(GpuDevice.uuid.in_([gpu.uuid for gpu in gpus]))
    return dict(session.execute(ids).all())


def _insert(session: Session, table: type[GpuDevice | GpuSample]) -> postgresql.Insert | sqlite.Insert:
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)
