"""The switch of the whole queue: while it is paused no run is handed out, and what trains goes on."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from backend.database import NOW
from backend.models_machines import QueueControl

_ROW = 1


@dataclass(frozen=True)
class Switch:
    """Since when the queue is paused (seconds since 1970) and by whom; both None while it is not."""

    paused_at: float | None = None
    paused_by: str | None = None

    @property
    def paused(self) -> bool:
        return self.paused_at is not None


def read(session: Session) -> Switch:
    """How the switch stands."""
    row = session.execute(
        select(QueueControl.paused_at, QueueControl.paused_by).where(QueueControl.id == _ROW)
    ).one_or_none()
    return Switch() if row is None else Switch(row.paused_at, row.paused_by)


def pause(session: Session, actor: str) -> Switch:
    """Hand out no more runs. Pausing a paused queue changes nothing."""
    if not read(session).paused:
        _write(session, paused_at=NOW, paused_by=actor[:120])
    return read(session)


def resume(session: Session) -> Switch:
    """Hand out runs again."""
    _write(session, paused_at=None, paused_by=None)
    return read(session)


def _write(session: Session, **values: object) -> None:
    changed = update(QueueControl).where(QueueControl.id == _ROW).values(**values).returning(QueueControl.id)
    if not session.execute(changed.execution_options(synchronize_session=False)).all():
        session.execute(insert(QueueControl).values(id=_ROW, **values))
