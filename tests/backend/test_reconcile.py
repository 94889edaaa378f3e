"""The loop that makes messages dispensable."""

from __future__ import annotations

from contextlib import closing

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError, OperationalError

from backend import claims, lineage, nodes, runs
from backend.database import NOW, Database
from backend.models import Run
from backend.reconcile import Reconciler, is_outage
from backend.settings import Settings
from copg_core.config import SFTConfig
from tests.waiting import until


@pytest.fixture
def sent() -> list[tuple[str, str]]:
    return []


def loop(database: Database, sent: list[tuple[str, str]], lease: float = 1000, tick: float = 1000) -> Reconciler:
    settings = Settings(lease_seconds=lease, tick_seconds=tick, retry_seconds=600)
    return Reconciler(database, settings, lambda uid, queue: sent.append((uid, queue)))


def lost_run(database: Database) -> Run:
    with database.transaction() as session:
        run = runs.create(session, SFTConfig())
        claims.claim(session, run.uid, "gone", 1)
        session.execute(update(Run).values(lease_until=NOW - 1000))
    return run


def state(database: Database, run: Run) -> str:
    with database.snapshot() as session:
        return runs.get(session, run.uid).state


def test_owners_get_one_full_lease_after_a_start_and_after_an_outage(
    database: Database, sent: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("backend.reconcile.time.monotonic", lambda: clock[0])
    run = lost_run(database)
    reconciler = loop(database, sent, lease=60)
    reconciler.turn()
    clock[0] += 59
    reconciler.turn()
    assert state(database, run) == "running"
    monkeypatch.setattr(reconciler, "_healthy_since", None)  # what an outage leaves
    clock[0] += 59
    reconciler.turn()
    assert state(database, run) == "running"
    clock[0] += 61
    reconciler.turn()
    assert state(database, run) == "queued"


def test_a_wake_up_is_sent_for_each_free_slot_as_soon_as_it_is_asked(
    database: Database, sent: list[tuple[str, str]]
) -> None:
    with database.transaction() as session:
        nodes.register(session, "w", host="h", pid=1, queue="default", slots=1, version="0", devices=[])
    reconciler = loop(database, sent)
    reconciler.start()
    try:
        with database.transaction() as session:
            first = runs.create(session, SFTConfig())
            runs.create(session, SFTConfig())
        reconciler.wake()
        until(lambda: bool(sent))
    finally:
        reconciler.stop()
    assert sent == [(first.uid, "node.w")]


def test_the_loop_outlives_a_database_that_is_away(
    database: Database, sent: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[int] = []
    reconciler = loop(database, sent, tick=0.01)

    def fail() -> None:
        turns.append(1)
        raise OperationalError("select", {}, Exception("gone"))

    monkeypatch.setattr(reconciler, "turn", fail)
    reconciler.start()
    until(lambda: len(turns) >= 3)
    reconciler.stop()
    assert reconciler._healthy_since is None


def test_a_step_that_fails_each_turn_keeps_no_other_from_being_taken(
    database: Database,
    sent: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = [100.0]
    monkeypatch.setattr("backend.reconcile.time.monotonic", lambda: clock[0])

    def fail(session: object) -> None:
        raise IntegrityError("update run", {}, Exception("a row that cannot be"))

    monkeypatch.setattr(lineage, "release_waiting", fail)
    with database.transaction() as session:
        nodes.register(session, "w", host="h", pid=1, queue="default", slots=1, version="0", devices=[])
    lost = lost_run(database)
    reconciler = loop(database, sent, lease=60)
    lines = []
    for wait in (0.0, 61.0, 61.0, 61.0):
        clock[0] += wait
        caplog.clear()
        reconciler.step()
        lines.append(len([one for one in caplog.records if "releasing runs that waited failed" in one.message]))
    assert state(database, lost) == "queued"  # it was taken from its worker
    assert [uid for uid, _ in sent] == []  # and waits before its next attempt
    with database.transaction() as session:
        other = runs.create(session, SFTConfig())
    reconciler.step()
    assert [uid for uid, _ in sent] == [other.uid]
    assert lines == [1, 1, 0, 1]  # at once, after a minute, then after two


def test_a_database_that_is_away_ends_the_turn(
    database: Database, sent: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    away = OperationalError("select", {}, Exception("server closed the connection"))
    assert is_outage(away)

    def fail(session: object) -> None:
        raise away

    monkeypatch.setattr(lineage, "release_waiting", fail)
    reconciler = loop(database, sent)
    with pytest.raises(OperationalError):
        reconciler.step()
    assert reconciler._healthy_since is None


def test_one_row_that_somebody_holds_is_no_outage(postgres_url: str) -> None:
    with closing(Database(postgres_url)) as database:
        with database.transaction() as session:
            run = runs.create(session, SFTConfig())
        with database.transaction() as holder, database.transaction() as waiting:
            runs.reschedule(holder, run, priority=1)
            waiting.execute(text("SET LOCAL lock_timeout = '10ms'"))
            with pytest.raises(OperationalError) as caught, waiting.begin_nested():
                runs.reschedule(waiting, run, priority=2)
    assert not is_outage(caught.value)
