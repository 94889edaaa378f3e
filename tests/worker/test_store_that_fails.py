"""A store that fails, is slow or is interrupted: training goes on, and nothing that was trained is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backend import runs, store
from backend.artifacts import Kept
from backend.store import File
from copg_core.events import CheckpointSaved, Evaluation
from tests.worker.conftest import Bench
from tests.worker.test_artifacts import Machines, artifacts, keeping


@pytest.fixture
def machines(bench: Bench, tmp_path: Path) -> Machines:
    return Machines(bench, tmp_path)


def broken(monkeypatch: pytest.MonkeyPatch, when: Callable[[str], bool]) -> threading.Event:
    """A store that refuses uploads of what `when` says, until the event is set."""
    works, upload = threading.Event(), store._upload

    def refuse(path: Path, location: str, name: str, stop: Callable[[], bool]) -> File:
        if when(location) and not works.is_set():
            raise ConnectionError("the store is on fire")
        return upload(path, location, name, stop)

    monkeypatch.setattr(store, "_upload", refuse)
    return works


def test_a_store_that_fails_does_not_disturb_training(
    bench: Bench, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = broken(monkeypatch, lambda location: "step-" in location and "step-10" not in location)
    run = bench.new(100_000, seconds=0.02)
    thread = bench.start(run, machines.host("one"))
    seen = bench.until(run, lambda found: found.step > 45 and found.checkpoint_step is not None)
    assert (seen.checkpoint_step, artifacts(bench, run, "checkpoint")) == (10, [("step-10", 1)])  # the last good one
    waiting = list((machines.folder / "one" / "runs" / run.uid).rglob("step-*"))
    assert len(waiting) <= 4  # step 10, the one that is tried, the newest ones
    works.set()
    bench.until(run, lambda found: (found.checkpoint_step or 0) > 40)
    with bench.database.transaction() as session:
        runs.cancel(session, run)
    thread.join(60)
    run = bench.now(run)
    assert run.state == "cancelled"
    assert artifacts(bench, run, "checkpoint") == [(f"step-{run.checkpoint_step}", 1)]


def test_an_output_that_the_store_refuses_waits_for_resume(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines = Machines(bench, tmp_path, artifacts_patience_seconds=3.0)
    works = broken(monkeypatch, lambda location: "/output" in location)
    run = bench.execute(bench.new(23, output="model"), machines.host("one"))
    assert (run.state, run.error_kind) == ("failed", "storage")
    assert "on fire" in (run.error or "")
    assert artifacts(bench, run, "output") == []
    assert (Path(run.output_path or "") / "model.txt").read_text() == "model"
    works.set()
    with bench.database.transaction() as session:
        runs.resume(session, run)
    run = bench.execute(run, Machines(bench, tmp_path).host("one"))
    assert (run.state, run.step, run.attempt) == ("succeeded", 23, 1)
    assert run.report["attempt"] == {"from": 0}  # nothing was trained again
    assert bench.steps(run) == list(range(1, 24))
    assert run.output_path == f"{machines.store.as_uri()}/runs/{run.uid}/attempt-1/output"
    assert (machines.store / "runs" / run.uid / "attempt-1" / "output" / "model.txt").read_text() == "model"


def test_a_slow_store_gets_what_the_plan_keeps_and_the_rest_fills_no_disk(
    bench: Bench, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = broken(monkeypatch, lambda location: "/checkpoints" in location)
    run = bench.new(100, checkpoints={"keep": 1, "keep_best": True, "keep_every": 40})
    keeper, home = keeping(bench, machines, run)
    folder = home / "checkpoints"
    for step in range(10, 100, 10):
        place = folder / f"step-{step}"
        place.mkdir(parents=True)
        (place / "state.json").write_text(str(step))
        measured = Evaluation(step=step, n=1, reward_mean=5.0 if step == 30 else 1.0)
        keeper.take([measured, CheckpointSaved(step=step, path=str(place), bytes=2, good_step=20)])
    wanted = {"step-20", "step-30", "step-40", "step-80", "step-90"}  # good, best, every fortieth, newest
    left = {path.name for path in folder.iterdir()}
    assert wanted <= left <= wanted | {"step-10"}, "the first may be on its way"
    works.set()
    brought: list[Any] = []
    while keeper.busy:
        brought += keeper.ready()
        time.sleep(0.05)
    keeper.close()
    assert {one.name for one in brought if isinstance(one, Kept)} in (wanted, wanted | {"step-10"})


def test_a_checkpoint_that_the_store_never_takes_does_not_hold_up_the_others(
    bench: Bench, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.artifacts._FIRST_WAIT", 0.01)
    monkeypatch.setattr("worker.artifacts._LONGEST_WAIT", 0.01)
    broken(monkeypatch, lambda location: "step-40" in location)
    run = bench.new(100, checkpoints={"keep": 1, "keep_every": 40})
    keeper, home = keeping(bench, machines, run)
    for step in (40, 50, 80):
        place = home / "checkpoints" / f"step-{step}"
        place.mkdir(parents=True)
        (place / "state.json").write_text(str(step))
        keeper.take([CheckpointSaved(step=step, path=str(place), bytes=2)])
    brought: list[Any] = []
    end = time.monotonic() + 30
    while keeper.busy:
        assert time.monotonic() < end, "the refused one holds up the others"
        brought += keeper.ready()
        time.sleep(0.02)
    keeper.close()
    assert [one.name for one in brought if isinstance(one, Kept)][-1] == "step-80"


def test_an_interrupted_upload_registers_nothing_and_the_next_attempt_brings_it(
    bench: Bench, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = store._upload

    def torn(path: Path, location: str, name: str, stop: Callable[[], bool]) -> File:
        target = store.as_path(location)
        assert target is not None
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes()[:3])
        raise ConnectionError("torn")

    monkeypatch.setattr(store, "_upload", torn)
    run = bench.new(100_000, seconds=0.02)
    host = machines.host("one")
    thread = bench.start(run, host)
    bench.until(run, lambda found: found.step > 12)
    host.drain()  # its worker leaves after the three seconds of grace
    thread.join(60)
    run = bench.now(run)
    assert (run.state, run.checkpoint_step) == ("queued", None)
    assert artifacts(bench, run, "checkpoint") == []
    monkeypatch.setattr(store, "_upload", upload)
    other = machines.host("one")
    thread = bench.start(run, other)
    found = bench.until(run, lambda found: found.report["attempt"]["from"] > 0)
    assert found.report["attempt"]["from"] > 12  # from what the first attempt had left in its folder
    assert found.checkpoint_step is not None
    assert found.checkpoint_step > 12
    other.drain()
    thread.join(60)
