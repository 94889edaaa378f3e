"""What ends an attempt beside the run itself: its time, a database that is away, too many attempts."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from sqlalchemy import select, update

from backend import claims, runs
from backend.database import NOW
from backend.models import Run, RunEvent
from backend.runs import Schedule
from copg_core.config import SFTConfig
from copg_core.sources import PresetModel
from tests.worker.conftest import Bench
from tests.worker.test_supervisor import locked, processes, ready
from worker.ranks import launch


def slow(bench: Bench, **schedule: float | int) -> Run:
    config = SFTConfig(steps=100_000, policy=PresetModel(tokenizer='{"seconds": 0.02}'))
    with bench.database.transaction() as session:
        return runs.create(session, config, schedule=Schedule(**schedule))


def last_reason(bench: Bench, run: Run) -> str:
    with bench.database.snapshot() as session:
        query = select(RunEvent.reason).where(RunEvent.run_id == run.id).order_by(RunEvent.id.desc())
        return session.scalars(query).first() or ""


def test_a_run_whose_time_is_over_keeps_a_checkpoint_and_can_be_given_more(bench: Bench) -> None:
    run = bench.execute(slow(bench, max_seconds=2))
    assert (run.state, run.error_kind, run.attempt) == ("failed", "time_limit", 1)
    assert "longest time of 0:00:02" in (run.error or "")
    assert run.checkpoint_step == run.step > 0
    assert run.used_seconds >= 2
    before = run.step
    with bench.database.transaction() as session:
        runs.resume(session, run)
    run = bench.execute(run)
    assert (run.state, run.error_kind) == ("failed", "time_limit")
    assert run.step > before
    assert run.report["attempt"] == {"from": before}


def test_time_that_lost_attempts_used_up_is_not_given_to_another(bench: Bench) -> None:
    run = slow(bench, max_seconds=100)
    with bench.database.transaction() as session:
        assert claims.claim(session, run.uid, "host/dead", 60)
        session.execute(update(Run).where(Run.id == run.id).values(claimed_at=NOW - 101))
        claims.give_back(session, "host/dead")
    ready(bench.database, run)
    run = bench.execute(run)
    assert (run.state, run.error_kind, run.step) == ("failed", "time_limit", 0)


def test_a_worker_without_its_database_gives_the_device_back_and_the_run_goes_on_later(bench: Bench) -> None:
    bench.settings = replace(bench.settings, partition_seconds=1.0)
    run = slow(bench)
    thread = bench.start(run)
    bench.until(run, lambda r: r.step >= 3)
    with locked(bench.database):
        deadline = time.monotonic() + 100
        while processes(run) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert processes(run) == []
        assert thread.is_alive()  # it still wants to tell
    thread.join(60)
    run = bench.now(run)
    assert (run.state, run.attempt) == ("queued", 0)
    assert run.checkpoint_step == run.step
    assert last_reason(bench, run) == "its worker could not reach the database"


def test_a_killed_training_waits_twice_as_long_each_time(bench: Bench) -> None:
    bench.settings = replace(bench.settings, retry_seconds=50.0, retry_cap_seconds=70.0)
    run, waits = bench.new(30, suicide=3), []
    for _ in range(2):
        ready(bench.database, run)
        run = bench.execute(run)
        with bench.database.snapshot() as session:
            waits.append(session.scalar(select(Run.not_before - NOW)) or 0)
    assert 40 < waits[0] <= 50
    assert 60 < waits[1] <= 70
    assert last_reason(bench, run).endswith("SIGKILL; attempt 3 of 3 in 70 s")


@pytest.mark.parametrize(("code", "passed_on"), [("sys.exit(65)", 65), ("os.kill(os.getpid(), 9)", 137), ("pass", 0)])
def test_the_launcher_passes_on_how_its_processes_ended(
    code: str, passed_on: int, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "worker").mkdir()
    (folder / "worker" / "__init__.py").touch()
    program = f"import os, sys\nif os.environ['RANK'] == '1':\n    {code}\n"
    (folder / "worker" / "child.py").write_text(program)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    assert launch(2, 5, folder / "job.json") == passed_on
