"""Attempts with real processes and a stand-in trainer, on both databases."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from backend import claims, runs
from backend.database import NOW, Database
from backend.models import Checkpoint, Run, RunEvent, Sample
from copg_core.config import SFTConfig
from copg_core.events import EVENT, CheckpointSaved, Metrics
from copg_core.sources import HubModel
from tests.worker.conftest import Bench
from worker import orphans
from worker.attempt import AttemptFiles, training_environment
from worker.host import Host


def processes(run: Run, fence: int = 1) -> list[int]:
    return [pid for pid, mark in orphans._marked() if mark.get(orphans.RUN) == f"{run.uid}:{fence}"]


def is_trainer(pid: int) -> bool:
    return b"worker.child" in Path(f"/proc/{pid}/cmdline").read_bytes()


def trainer(run: Run, fence: int = 1) -> int:
    # The guard's own arguments hold the trainer's command, so the trainer is the one with the higher number.
    return max(pid for pid in processes(run, fence) if is_trainer(pid))


def test_a_run_is_trained_to_its_end_and_all_it_said_is_in_the_database(bench: Bench) -> None:
    run = bench.execute(bench.new(23))
    assert (run.state, run.step, run.total_steps, run.checkpoint_step) == ("succeeded", 23, 23, 20)
    assert bench.steps(run) == list(range(1, 24))
    assert bench.evaluations(run) == [5, 10, 15, 20]
    assert run.last_reward == pytest.approx(2.0)
    assert Path(run.output_path or "").is_dir()
    with bench.database.snapshot() as session:
        assert set(session.scalars(select(Sample.prompt))) == {"p\ufffd"}  # NUL cannot be stored everywhere
        assert list(session.scalars(select(Checkpoint.step).order_by(Checkpoint.step))) == [20]  # it keeps one
    assert (bench.settings.runs_path / run.uid / "log.txt").exists()
    assert processes(run) == []


def test_the_training_process_sees_neither_database_nor_broker_nor_store(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    run = bench.execute(bench.new(1))
    assert run.report["environment"] == {
        "COPG_DATABASE_URL": False, "COPG_BROKER_URL": False, "HF_TOKEN": False, "AWS_SECRET_ACCESS_KEY": False,
        "COPG_RUN": True,
    }  # fmt: skip


def test_the_hubs_token_travels_with_runs_that_read_from_the_hub(bench: Bench) -> None:
    with bench.database.transaction() as session:
        run = runs.create(session, SFTConfig(policy=HubModel(id="org/model")))
    with bench.database.transaction() as session:
        claim = claims.claim(session, run.uid, "w", 60)
    assert claim is not None
    given = training_environment(claim, "GPU-1", {"HF_TOKEN": "t", "COPG_BROKER_URL": "secret", "PATH": "/bin"})
    assert (given["HF_TOKEN"], given["CUDA_VISIBLE_DEVICES"], "COPG_BROKER_URL" in given) == ("t", "GPU-1", False)


def test_a_foreseen_failure_fails_at_once_with_its_sentence(bench: Bench) -> None:
    run = bench.execute(bench.new(reward_error=7))
    assert (run.state, run.error, run.error_kind, run.attempt) == ("failed", "the reward is NaN", "reward", 1)
    assert bench.steps(run) == list(range(1, 8))  # what was recorded is kept
    assert "the reward is NaN" in (bench.settings.runs_path / run.uid / "log.txt").read_text()


def test_a_bug_fails_at_once_and_its_traceback_is_in_the_log(bench: Bench) -> None:
    run = bench.execute(bench.new(bug=3))
    assert (run.state, run.error_kind) == ("failed", "internal")
    assert "ZeroDivisionError" in (run.error or "")
    assert "Traceback" in (bench.settings.runs_path / run.uid / "log.txt").read_text()


def test_a_killed_training_goes_on_from_its_checkpoint(bench: Bench) -> None:
    run = bench.execute(bench.new(30, suicide=17, once=True))
    assert (run.state, run.attempt, run.checkpoint_step) == ("queued", 1, 10)
    ready(bench.database, run)
    run = bench.execute(run)
    assert (run.state, run.attempt, run.report["attempt"]) == ("succeeded", 2, {"from": 10})
    assert bench.steps(run) == list(range(1, 31))
    folder = bench.settings.runs_path / run.uid
    assert not list(folder.glob("attempt-1/checkpoints/step-*"))  # superseded by attempt 2's own
    with bench.database.snapshot() as session:
        rows = session.execute(select(Checkpoint.step, Checkpoint.fence).order_by(Checkpoint.step)).all()
    assert [tuple(row) for row in rows] == [(30, 2)]


def test_one_that_is_killed_every_time_fails_when_its_attempts_are_used(bench: Bench) -> None:
    run = bench.new(30, suicide=3)
    for _ in range(3):
        ready(bench.database, run)
        run = bench.execute(run)
    assert (run.state, run.error_kind) == ("failed", "worker")
    assert "SIGKILL" in (run.error or "")
    assert "memory" in (run.error or "")


def ready(database: Database, run: Run) -> None:
    with database.transaction() as session:
        session.execute(update(Run).where(Run.id == run.id).values(not_before=0))


def test_a_cancel_stops_the_training_after_a_checkpoint(bench: Bench) -> None:
    run = bench.new(100_000, seconds=0.02)
    thread = bench.start(run)
    bench.until(run, lambda r: r.step >= 3)
    cancel(bench.database, run)
    thread.join(60)
    run = bench.now(run)
    assert run.state == "cancelled"
    assert run.checkpoint_step == run.step
    assert processes(run) == []


def test_a_cancel_stops_one_that_does_not_listen(bench: Bench) -> None:
    run = bench.new(100_000, deaf=2, ranks=True)
    thread = bench.start(run)
    bench.until(run, lambda r: "deaf" in r.report)
    cancel(bench.database, run)
    thread.join(60)
    assert bench.now(run).state == "cancelled"
    assert processes(run) == []


def cancel(database: Database, run: Run) -> None:
    with database.transaction() as session:
        runs.cancel(session, run)


def test_a_worker_that_is_asked_to_leave_gives_its_run_back_with_a_checkpoint(bench: Bench) -> None:
    run, host = bench.new(100_000, seconds=0.02), bench.host()
    thread = bench.start(run, host)
    bench.until(run, lambda r: r.step >= 3)
    host.drain()
    thread.join(60)
    run = bench.now(run)
    assert (run.state, run.attempt) == ("queued", 0)
    assert run.checkpoint_step == run.step
    host.execute(run.uid)  # takes nothing new
    assert bench.now(run).state == "queued"


def test_when_the_guard_is_killed_nothing_goes_on_and_the_run_is_taken_up_again(bench: Bench) -> None:
    run = bench.new(100_000, seconds=0.02, ranks=True)
    thread = bench.start(run)
    bench.until(run, lambda r: r.step >= 3)
    guard = min(pid for pid in processes(run) if is_trainer(pid))
    os.kill(guard, signal.SIGKILL)
    thread.join(60)
    assert bench.now(run).state == "queued"
    assert processes(run) == []


def test_a_supervisor_that_lost_its_lease_stops_its_process_and_writes_nothing(bench: Bench) -> None:
    run = bench.new(100_000, seconds=0.02)
    thread = bench.start(run)
    bench.until(run, lambda r: r.step >= 3)
    with bench.database.transaction() as session:
        session.execute(update(Run).where(Run.id == run.id).values(lease_until=NOW - 1))
        assert claims.reap(session) == 1
    thread.join(60)
    run = bench.now(run)
    assert run.state == "queued"
    assert processes(run) == []


def test_a_database_that_is_away_does_not_end_a_training(bench: Bench) -> None:
    run = bench.new(200, seconds=0.05)
    thread = bench.start(run)
    bench.until(run, lambda r: r.step >= 3)
    with locked(bench.database):
        pid = trainer(run)
        thread.join(1.5)
        assert is_trainer(pid)
    thread.join(60)
    run = bench.now(run)
    assert (run.state, run.attempt) == ("succeeded", 1)
    assert bench.steps(run) == list(range(1, 201))


@contextmanager
def locked(database: Database) -> Iterator[None]:
    """Nobody else can write while this lasts."""
    with database.transaction() as session:
        session.connection()  # SQLite's lock is taken where a transaction really begins
        if database.engine.dialect.name == "postgresql":
            session.execute(text("LOCK TABLE run IN EXCLUSIVE MODE"))
        yield


def lost(bench: Bench, run: Run, *lines: bytes) -> AttemptFiles:
    """An attempt whose worker died: claimed, its spool holds `lines`, and nothing of it was shipped."""
    with bench.database.transaction() as session:
        claim = claims.claim(session, run.uid, "host/dead", 60)
    assert claim is not None
    files = AttemptFiles(bench.settings, run.uid, claim.fence)
    files.folder.mkdir(parents=True)
    files.spool.write_bytes(b"".join(lines))
    with bench.database.transaction() as session:
        claims.give_back(session, "host/dead")
    ready(bench.database, run)
    return files


def metrics(*steps: int) -> bytes:
    return b"".join(EVENT.dump_json(Metrics(step=step, values={"loss": 1 / step})) + b"\n" for step in steps)


def test_what_a_dead_worker_left_in_the_spool_counts_up_to_its_last_checkpoint(bench: Bench) -> None:
    run = bench.new(25)
    path = bench.settings.runs_path / run.uid / "attempt-1" / "checkpoints" / "step-12"
    saved = EVENT.dump_json(CheckpointSaved(step=12, path=str(path), bytes=1)) + b"\n"
    lost(bench, run, metrics(*range(1, 13)), saved, metrics(13, 14), b'{"event": "metr')
    path.mkdir(parents=True)
    (path / "state.json").write_text('{"step": 12}')
    run = bench.execute(run)
    assert (run.state, run.report["attempt"]) == ("succeeded", {"from": 12})
    assert bench.steps(run) == list(range(1, 26))


def test_a_run_that_finished_behind_a_dead_worker_is_not_trained_again(bench: Bench) -> None:
    run = bench.new(5)
    output = bench.settings.runs_path / run.uid / "attempt-1" / "output"
    end = b'{"event": "finished", "step": 5, "output": "%s"}\n' % str(output).encode()
    output.mkdir(parents=True)
    lost_files = bench.settings.runs_path / run.uid / "attempt-1"
    shutil.rmtree(lost_files)
    lost(bench, run, metrics(1, 2, 3, 4, 5), end)
    output.mkdir(parents=True)
    run = bench.execute(run)
    assert (run.state, run.step, run.output_path, run.report) == ("succeeded", 5, str(output), {})
    assert bench.steps(run) == [1, 2, 3, 4, 5]


def test_after_a_retry_the_spool_of_the_old_attempts_counts_for_nothing(bench: Bench) -> None:
    run = bench.execute(bench.new(12, reward_error=11))
    with bench.database.transaction() as session:
        runs.retry(session, run)
    with bench.database.transaction() as session:
        claim = claims.claim(session, run.uid, "w", 60)
    assert claim is not None
    assert (claim.previous_fence, claim.checkpoint_path) == (None, None)


def test_a_checkpoint_that_is_gone_means_from_the_beginning(bench: Bench) -> None:
    run = bench.execute(bench.new(30, suicide=17, once=True))
    shutil.rmtree(run.checkpoint_path or "")
    shutil.rmtree(bench.settings.runs_path / run.uid / "attempt-1")
    ready(bench.database, run)
    run = bench.execute(run)
    assert run.report["attempt"] == {"from": 0}


def test_a_folder_that_cannot_be_written_is_said_plainly(bench: Bench) -> None:
    bench.settings.data_path.mkdir(parents=True)
    bench.settings.runs_path.write_text("a file where the folder should be")
    run = bench.execute(bench.new(3))
    assert (run.state, run.error_kind) == ("failed", "storage")
    assert "cannot write the run's folder" in (run.error or "")


def test_the_history_tells_what_happened(bench: Bench) -> None:
    run = bench.execute(bench.new(3))

    def read(session: Session) -> list[tuple[str, str]]:
        query = select(RunEvent.target, RunEvent.reason).where(RunEvent.run_id == run.id).order_by(RunEvent.id)
        return [(row.target, row.reason) for row in session.execute(query)]

    with bench.database.snapshot() as session:
        assert read(session) == [("queued", ""), ("running", "claimed"), ("succeeded", "finished")]


def test_two_wake_ups_for_one_run_train_it_once(bench: Bench) -> None:
    run = bench.new(10)
    hosts: list[Host] = [bench.host(), bench.host()]
    for thread in [bench.start(run, host) for host in hosts]:
        thread.join(60)
    assert (bench.now(run).state, bench.now(run).attempt) == ("succeeded", 1)
