"""Runs that wait cost the loop nothing while there is nothing to decide about them, on both engines."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event, func, select, update

from backend import dispatch, lineage, nodes, runs
from backend.database import Database
from backend.models import Run
from backend.nodes import GpuReading
from backend.settings import Settings
from copg_core.config import SFTConfig


def test_a_turn_asks_as_much_about_many_waiting_runs_as_about_none(database: Database) -> None:
    with database.transaction() as session:
        first = runs.create(session, SFTConfig())
        for _ in range(15):
            runs.create(session, SFTConfig(), schedule=runs.Schedule(after=(first.uid,)))
            runs.create(session, SFTConfig(), schedule=runs.Schedule(after_any=(first.uid,)))
    asked: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        asked.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    with database.transaction() as session:
        assert lineage.release_waiting(session) == 0
    assert sum(statement.startswith("SELECT") for statement in asked) == 1

    with database.transaction() as session:
        session.execute(update(Run).where(Run.id == first.id).values(state="failed"))
        assert lineage.release_waiting(session) == 30
        states = session.execute(select(Run.state, func.count()).where(Run.id != first.id).group_by(Run.state)).all()
    assert dict(map(tuple, states)) == {"cancelled": 15, "queued": 15}


def test_a_long_line_for_gpus_hides_no_run_for_a_free_processor(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_AHEAD", 4)
    with database.transaction() as session:
        gpu = GpuReading(0, "GPU-a", "H100")
        nodes.register(
            session, "a", host="h", pid=1, queue="default", slots=2, cpu_slots=1, version="0", devices=[], gpus=[gpu]
        )
        waiting = [runs.create(session, SFTConfig(), schedule=runs.Schedule(gpus=1)) for _ in range(6)]
        small = runs.create(session, SFTConfig(), schedule=runs.Schedule(gpus=0))
        urgent = runs.create(session, SFTConfig(), schedule=runs.Schedule(gpus=1), priority=5)
    with database.transaction() as session:
        hints = dispatch.due_hints(session, settings)
    assert [uid for uid, _ in hints] == [urgent.uid, small.uid]
    assert waiting[0].uid not in dict(hints)
