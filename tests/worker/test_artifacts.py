"""Checkpoints and outputs under a URL: two machines that share a database and a store, but no folder."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from backend import claims, fetched, store, trials
from backend.artifacts import Kept
from backend.database import NOW
from backend.models import Checkpoint, Run
from backend.models_artifacts import Artifact, ArtifactFile, Removal
from backend.queue import celery_app
from backend.retention import sweep_leftovers
from backend.run_errors import LeaseLost
from backend.schemas.trials import TrialCreate
from backend.settings import Settings
from backend.store import File, Store
from copg_core.events import CheckpointRemoved, CheckpointSaved, Finished
from tests.worker.conftest import Bench
from tests.worker.test_supervisor import ready
from worker.artifacts import Keeper
from worker.fetch import Fetcher
from worker.host import Host


class Machines:
    """Hosts of one database and one store, each with a data folder of its own."""

    def __init__(self, bench: Bench, folder: Path, **options: Any) -> None:
        self.bench, self.folder = bench, folder
        self.store = folder / "store"
        self._options = {"artifacts_url": self.store.as_uri(), "grace_seconds": 3.0, **options}

    def settings(self, name: str) -> Settings:
        return replace(self.bench.settings, data_dir=str(self.folder / name), **self._options)

    def host(self, name: str) -> Host:
        host = Host(celery_app(self.bench.settings), self.settings(name), train="fake_train:train")
        self.bench.hosts.append(host)
        return host


@pytest.fixture
def machines(bench: Bench, tmp_path: Path) -> Machines:
    return Machines(bench, tmp_path)


def keeping(bench: Bench, machines: Machines, run: Run) -> tuple[Keeper, Path]:
    """The keeper of the run's first attempt, without an attempt, and the folder where that would write."""
    with bench.database.transaction() as session:
        claim = claims.claim(session, run.uid, "w", 60)
    assert claim is not None
    settings = machines.settings("one")
    return Keeper(bench.database, settings, claim), settings.runs_path / run.uid / "attempt-1"


def artifacts(bench: Bench, run: Run, kind: str) -> list[tuple[str, int]]:
    with bench.database.snapshot() as session:
        rows = session.scalars(select(Artifact).where(Artifact.run_id == run.id, Artifact.kind == kind))
        return sorted((row.name, row.fence) for row in rows)


def test_the_data_folder_itself_is_registered_in_place(bench: Bench) -> None:
    run = bench.execute(bench.new(23))
    assert artifacts(bench, run, "checkpoint") == [("step-20", 1)]
    assert artifacts(bench, run, "output") == [("output", 1)]
    assert artifacts(bench, run, "log") == [("log.txt", 1)]
    with bench.database.snapshot() as session:
        row = session.scalars(select(Artifact).where(Artifact.kind == "checkpoint")).one()
        file = session.scalars(select(ArtifactFile).where(ArtifactFile.artifact_id == row.id)).one()
        assert session.scalars(select(Removal)).all() == []
    folder = store.as_path(row.url)
    assert str(folder) == run.checkpoint_path
    assert folder is not None
    assert file.sha256 == store.hash_file(folder / "state.json")
    assert row.sha256 == store.digest((File(file.name, file.bytes, file.sha256),))
    assert sorted(path.name for path in folder.parent.iterdir()) == ["step-20"]  # what was dropped is gone


def test_a_run_goes_on_on_a_machine_that_shares_no_folder(bench: Bench, machines: Machines) -> None:
    run = bench.execute(bench.new(30, suicide=17, once=True), machines.host("one"))
    assert run.checkpoint_path == f"{machines.store.as_uri()}/runs/{run.uid}/attempt-1/checkpoints/step-10"
    shutil.rmtree(machines.folder / "one")
    ready(bench.database, run)
    run = bench.execute(run, machines.host("two"))
    assert (run.state, run.report["attempt"]) == ("succeeded", {"from": 10})
    assert bench.steps(run) == list(range(1, 31))
    assert run.output_path == f"{machines.store.as_uri()}/runs/{run.uid}/attempt-2/output"
    assert artifacts(bench, run, "checkpoint") == [("step-30", 2)]
    left = sorted(str(path.relative_to(machines.store)) for path in machines.store.rglob("step-*"))
    assert left == [f"runs/{run.uid}/attempt-2/checkpoints/step-30"]
    assert not list((machines.folder / "two" / "runs").rglob("step-*"))  # the working copies went


def test_a_machine_clears_away_what_it_had_of_a_run_that_ended_elsewhere(bench: Bench, machines: Machines) -> None:
    run = bench.execute(bench.new(30, suicide=17, once=True), machines.host("one"))
    left = machines.folder / "one" / "runs" / run.uid / "attempt-1" / "checkpoints" / "step-10"
    for path in (*left.rglob("*"), left):
        os.utime(path, (time.time() - 48 * 3600,) * 2)
    ready(bench.database, run)
    came_back = machines.host("one")
    assert sweep_leftovers(bench.database, machines.settings("one")) == 0  # the run may go on from there
    run = bench.execute(run, machines.host("two"))
    assert run.state == "succeeded"
    assert left.is_dir()
    came_back.start()
    try:
        bench.until(run, lambda _: not left.exists())
    finally:
        came_back.leave()


def test_a_damaged_checkpoint_is_not_gone_on_from(bench: Bench, machines: Machines) -> None:
    run = bench.execute(bench.new(30, suicide=17, once=True), machines.host("one"))
    damaged = machines.store / "runs" / run.uid / "attempt-1" / "checkpoints" / "step-10" / "state.json"
    damaged.write_text('{"step": 11}')
    ready(bench.database, run)
    run = bench.execute(run, machines.host("two"))
    assert (run.state, run.error_kind) == ("failed", "storage")
    assert "damaged" in (run.error or "")


def test_one_damaged_policy_of_a_trial_leaves_the_others_to_answer(bench: Bench, machines: Machines) -> None:
    trained = [bench.execute(bench.new(10, output=f"model {number}"), machines.host("one")) for number in range(2)]
    output = machines.store / "runs" / trained[0].uid / "attempt-1" / "output"
    (output / "model.txt").write_text("another")
    with bench.database.transaction() as session:
        trial = trials.create(session, TrialCreate(runs=[run.uid for run in trained], prompt="post"))
    machines.host("two").execute(trial.uid)
    with bench.database.snapshot() as session:
        row = trials.get(session, trial.uid)
    # The trainer of this test writes no models, so the other one fails too: as its own fault, when its turn comes.
    assert row.state == "failed"
    assert "model.txt" in row.report["policy.0"]["error"]
    assert "no run.json" in row.report["policy.1"]["error"]
    assert row.error == row.report["policy.0"]["error"]


@pytest.mark.parametrize("named", ["url", "path"])
def test_a_store_in_a_folder_with_any_name(bench: Bench, tmp_path: Path, named: str) -> None:
    place = tmp_path / "my store, 100 % #1 %20"
    settings = replace(bench.settings, data_dir=str(tmp_path / "data"), artifacts_url=place.as_uri())
    source = tmp_path / "data" / "runs" / "r" / "log.txt"
    source.parent.mkdir(parents=True)
    source.write_text("a line\n")
    location, [file] = Store(settings).put(source, "runs/r/log.txt")
    assert (place / "runs" / "r" / "log.txt").read_text() == "a line\n"
    if named == "path":
        location = str(store.as_path(location))
    assert (store.size(location), b"".join(store.read(location))) == (7, b"a line\n")
    store.download(location, file, tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "a line\n"
    home = location.rpartition("/runs/")[0]
    assert (store.folders(home), store.measure(home)[0]) == (["runs"], 7)
    store.remove(location)
    with pytest.raises(FileNotFoundError):
        store.size(location)


def test_an_interrupted_transfer_leaves_what_stood_there(bench: Bench, machines: Machines) -> None:
    settings = machines.settings("one")
    log = settings.runs_path / "one" / "log.txt"
    log.parent.mkdir(parents=True)
    log.write_text("all of it")
    location, _ = Store(settings).put(log, "runs/one/log.txt")
    with pytest.raises(store.Interrupted):
        Store(settings).put(log, "runs/one/log.txt", lambda: True)
    assert b"".join(store.read(location)) == b"all of it"
    assert [path.name for path in (machines.store / "runs" / "one").iterdir()] == ["log.txt"]


def test_waiting_ends_without_giving_up_what_was_brought_meanwhile(bench: Bench, machines: Machines) -> None:
    run = bench.new(10)
    keeper, home = keeping(bench, machines, run)
    copy = home / "output"
    copy.mkdir(parents=True)
    keeper.give_up()  # a moment after the last thing was taken
    keeper.drop_working_copies()
    assert not copy.exists()
    keeper.close()


def test_outputs_of_parents_are_fetched_into_the_cache_once(bench: Bench, machines: Machines) -> None:
    location = f"{machines.store.as_uri()}/runs/parent/attempt-1/output"
    source = machines.folder / "parent" / "runs" / "parent" / "attempt-1" / "output"
    source.mkdir(parents=True)
    (source / "model.safetensors").write_bytes(b"weights")
    settings = machines.settings("parent")
    place, files = Store(settings).put(source, "runs/parent/attempt-1/output")
    assert place == location
    kept = Kept("output", "output", location, files)
    other = Fetcher(machines.settings("two"))
    first = other.fetch(location, kept)
    assert first is not None
    assert (first / "model.safetensors").read_bytes() == b"weights"
    shutil.rmtree(machines.store)
    assert other.fetch(location, kept) == first  # by content, wherever the store is
    assert fetched.make_room(first.parent, 0) == (0, 0)  # held by this attempt
    other.close()
    assert fetched.make_room(first.parent, 0) == (1, 7)
    assert other.fetch(location, kept) is None
    other.close()


def test_a_zombie_registers_nothing(bench: Bench) -> None:
    run = bench.new()
    with bench.database.transaction() as session:
        old = claims.claim(session, run.uid, "zombie", 60)
        session.execute(update(Run).where(Run.id == run.id).values(lease_until=NOW - 1))
        claims.reap(session)
    ready(bench.database, run)
    with bench.database.transaction() as session:
        new = claims.claim(session, run.uid, "heir", 60)
    assert old is not None
    assert new is not None
    item = Kept("checkpoint", "step-10", "/zombie/step-10", (File("a", 1, "0" * 64),), 10)
    saved = CheckpointSaved(step=10, path=item.location, bytes=1)
    with pytest.raises(LeaseLost), bench.database.transaction() as session:
        claims.renew(session, old.run_id, old.fence, 60, [item, saved])
    assert artifacts(bench, run, "checkpoint") == []
    with bench.database.transaction() as session:
        claims.renew(session, new.run_id, new.fence, 60, [item, saved])
    assert artifacts(bench, run, "checkpoint") == [("step-10", new.fence)]


def test_what_the_plan_keeps_stays_over_attempts(bench: Bench, machines: Machines) -> None:
    plan = {"keep": 1, "keep_best": True, "keep_every": 40}
    run = bench.new(100, suicide=57, once=True, worst=list(range(30, 101)), checkpoints=plan)
    run = bench.execute(run, machines.host("one"))
    with bench.database.transaction() as session:
        session.execute(update(Checkpoint).where(Checkpoint.step == 50).values(pinned=True))
    ready(bench.database, run)
    run = bench.execute(run, machines.host("two"))
    assert run.state == "succeeded"
    expected = [("step-100", 2), ("step-20", 1), ("step-40", 1), ("step-50", 1), ("step-80", 2)]
    assert artifacts(bench, run, "checkpoint") == expected
    assert len(list(machines.store.rglob("step-*"))) == 5
    assert run.config["checkpoints"]["keep_every"] == 40


def test_what_a_trainer_says_of_other_folders_is_not_believed(bench: Bench, tmp_path: Path) -> None:
    run = bench.new()
    with bench.database.transaction() as session:
        claim = claims.claim(session, run.uid, "w", 60)
    assert claim is not None
    precious = tmp_path / "precious"
    precious.mkdir()
    keeper = Keeper(bench.database, bench.settings, claim)
    home = bench.settings.runs_path / run.uid
    places = [str(precious), str(home.parent / "another run"), str(home / ".." / "another run"), "/", "file:///etc"]
    for place in places:
        assert keeper.take([CheckpointRemoved(step=1, path=place), Finished(step=1, output=place)]) == []
    assert not keeper.busy
    assert keeper.ready() == []
    own = CheckpointRemoved(step=1, path=str(home / "attempt-1" / "checkpoints" / "step-1"))
    keeper.take([own])
    assert keeper.busy
    keeper.close()
    assert precious.is_dir()
