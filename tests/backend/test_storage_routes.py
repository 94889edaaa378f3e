"""What takes up how much, what could go, and the sweep of what was given up."""

from __future__ import annotations

import os
import shutil
import threading
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from backend import artifacts, data_files, retention, store
from backend.models_artifacts import Removal
from backend.states import RunState
from copg_core import events
from tests.backend.studio_bench import API, Bench, problem
from tests.backend.test_artifact_routes import finished, saved

pytestmark = pytest.mark.usefixtures("own_removals")


def aged(path: Path, hours: float = 48) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "file").write_bytes(b"12345")
    for item in (*path.rglob("*"), path):
        os.utime(item, (time.time() - hours * 3600,) * 2)
    return path


def freeable(bench: Bench) -> dict[str, tuple[int, int]]:
    return {item["action"]: (item["count"], item["bytes"]) for item in bench.get("/storage")["freeable"]}


def free(bench: Bench, action: str, **body: object) -> tuple[int, int, bool]:
    answer = bench.client.post(f"{API}/storage/free", json={"action": action, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()["count"], answer.json()["bytes"], answer.json()["freed"]


def test_an_empty_studio(bench: Bench) -> None:
    seen = bench.get("/storage")
    assert (seen["store"], seen["local"], seen["kinds"], seen["runs"]) == (
        str(bench.settings.data_path), True, [], [],
    )  # fmt: skip
    assert freeable(bench) == dict.fromkeys(("checkpoints", "cache", "fetched", "orphans"), (0, 0))
    for action in ("checkpoints", "cache", "fetched", "orphans"):
        assert free(bench, action, dry_run=False) == (0, 0, True)


def test_a_store_that_is_away_leaves_out_what_only_it_knows(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(location: str) -> list[str]:
        raise store.Unreachable(f"{location} does not answer")

    monkeypatch.setattr(store, "folders", away)
    seen = bench.get("/storage")
    assert [one["action"] for one in seen["freeable"]] == ["checkpoints", "cache", "fetched"]
    assert "does not answer" in seen["trouble"]
    problem(bench.client.post(f"{API}/storage/free", json={"action": "orphans"}), 503)


def test_use_by_kind_and_run(bench: Bench) -> None:
    uid, _ = finished(bench)
    other = bench.launch()
    saved(bench, bench.claim(other), 10, "")
    seen = bench.get("/storage")
    assert {item["kind"]: (item["count"], item["bytes"]) for item in seen["kinds"]} == {
        "output": (1, 1002), "checkpoint": (1, 1002),
    }  # fmt: skip
    assert {item["id"]: item["checkpoint_bytes"] for item in seen["runs"]} == {uid: 0, other: 1002}
    assert seen["volumes"][0]["free"] > 0


def test_checkpoints_of_ended_runs_go_but_not_what_resume_needs(bench: Bench) -> None:
    left = {}
    for name, state in (("done", RunState.SUCCEEDED), ("failed", RunState.FAILED), ("running", None)):
        uid = bench.launch()
        claim = bench.claim(uid)
        for step in (10, 20, 30):
            saved(bench, claim, step, "")
        bench.client.patch(f"{API}/runs/{uid}/checkpoints/10", json={"pinned": True})
        if state is not None:
            bench.finish(claim, state)
        left[name] = uid
    assert free(bench, "checkpoints") == (3, 3 * 1002, False)
    assert freeable(bench)["checkpoints"] == (3, 3 * 1002)
    assert free(bench, "checkpoints", dry_run=False) == (3, 3 * 1002, True)
    steps = {
        name: [item["step"] for item in bench.get(f"/runs/{uid}/checkpoints")["items"]] for name, uid in left.items()
    }
    assert steps == {"done": [10], "failed": [10, 30], "running": [10, 20, 30]}
    assert len(list(bench.settings.runs_path.rglob("step-*"))) == 6
    assert bench.row(left["done"]).checkpoint_step == 10
    assert free(bench, "checkpoints", dry_run=False) == (0, 0, True)


def test_caches(bench: Bench) -> None:
    for name in ("reference.safetensors", "artifacts/abc/model.safetensors"):
        (bench.settings.cache_path / name).parent.mkdir(parents=True, exist_ok=True)
        (bench.settings.cache_path / name).write_bytes(b"1234567")
    assert {item["name"]: item["bytes"] for item in bench.get("/storage")["caches"]} == {
        "references": 7,
        "artifacts": 7,
    }
    assert free(bench, "cache", dry_run=False) == (1, 7, True)
    assert free(bench, "fetched") == (1, 7, False)
    assert free(bench, "fetched", dry_run=False) == (1, 7, True)
    assert not list(bench.settings.cache_path.rglob("*.safetensors"))


def test_freeing_the_cache_takes_nothing_that_is_written_just_now_and_no_digests(bench: Bench) -> None:
    folder = bench.settings.cache_path / "ab"
    data_files.keys_folder(bench.settings).mkdir(parents=True)
    folder.mkdir()
    kept = [folder / ".tmp-now", folder / "table.npy.lock", data_files.keys_path(bench.settings, "some")]
    gone = [folder / "table.npy", folder / ".tmp-left"]
    for path in (*kept, *gone):
        path.write_bytes(b"1234567")
    os.utime(gone[1], (time.time() - 2 * 86_400,) * 2)
    assert freeable(bench)["cache"] == (2, 14)
    assert {one["name"]: one["bytes"] for one in bench.get("/storage")["caches"]} == {"references": 14, "artifacts": 0}
    assert free(bench, "cache", dry_run=False) == (2, 14, True)
    assert [path.exists() for path in (*kept, *gone)] == [True, True, True, False, False]


def test_orphans_wait_for_a_person_and_for_their_age(bench: Bench) -> None:
    known = bench.launch()
    old, new = (bench.settings.runs_path / uuid.uuid4().hex for _ in range(2))
    aged(old)
    aged(new, hours=1)
    aged(bench.settings.runs_path / known)
    aged(bench.settings.runs_path / "something else")
    retention.sweep_leftovers(bench.database, bench.settings)
    assert old.is_dir()  # another studio may own it
    assert freeable(bench)["orphans"] == (1, 5)
    assert free(bench, "orphans", dry_run=False) == (1, 5, True)
    assert sorted(path.name for path in bench.settings.runs_path.iterdir()) == sorted(
        [known, new.name, "something else"]
    )


def test_leftovers_of_ended_runs_are_swept(bench: Bench) -> None:
    uid = bench.launch()
    claim = bench.claim(uid)
    location = saved(bench, claim, 20, "")
    attempt = Path(location).parent.parent
    torn, young = aged(attempt / "checkpoints" / "step-10"), aged(attempt / "checkpoints" / "step-11", hours=1)
    partial = aged(attempt / "checkpoints" / ".partial-12-99")
    aged(Path(location))
    assert retention.sweep_leftovers(bench.database, bench.settings) == 0  # its run is being trained
    bench.finish(claim, RunState.FAILED)
    assert retention.sweep_leftovers(bench.database, bench.settings) == 2
    assert [path.exists() for path in (torn, partial, young, Path(location))] == [False, False, True, True]


def test_a_data_folder_that_was_moved_keeps_what_its_runs_refer_to(bench: Bench) -> None:
    uid = bench.launch()
    claim = bench.claim(uid)
    checkpoint, output = (
        Path(saved(bench, claim, 20, "")),
        aged(bench.settings.runs_path / uid / "attempt-1" / "output"),
    )
    bench.record(claim, events.Finished(step=40, output=str(output)))
    bench.finish(claim, RunState.SUCCEEDED)
    aged(checkpoint)
    moved = bench.settings.data_path.with_name("a larger disk")
    shutil.copytree(bench.settings.runs_path, moved / "runs")
    aged(moved / "runs" / uid / "attempt-1" / "checkpoints" / "step-10")
    there = replace(bench.settings, data_dir=str(moved))
    assert retention.sweep_leftovers(bench.database, there) == 1
    assert [(moved / path.relative_to(bench.settings.data_path)).is_dir() for path in (checkpoint, output)] == [
        True,
        True,
    ]


def test_two_sweeps_at_once_and_a_store_that_is_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    uid, output = finished(bench, "memory://away")
    real = store.remove

    def away(location: str) -> None:
        if location.startswith("memory://"):
            raise ConnectionError("no route to host")
        real(location)

    monkeypatch.setattr(store, "remove", away)
    assert bench.client.delete(f"{API}/runs/{uid}").status_code == 204
    assert bench.get("/storage")["removals"] == 1  # the row has gone, its files follow
    with bench.database.transaction() as session:
        waiting = session.scalars(select(Removal)).one()
        assert waiting.tries == 1
        waiting.not_before = 0.0
    monkeypatch.setattr(store, "remove", real)
    settings = replace(bench.settings, artifacts_url="memory://away")
    sweeps = [threading.Thread(target=artifacts.remove_due, args=(bench.database, settings)) for _ in range(3)]
    for sweep in sweeps:
        sweep.start()
    for sweep in sweeps:
        sweep.join()
    assert bench.get("/storage")["removals"] == 0
    with pytest.raises(FileNotFoundError):
        store.size(f"{output['url']}/empty")


def test_nonsense_is_refused(bench: Bench) -> None:
    problem(bench.client.post(f"{API}/storage/free", json={"action": "everything"}), 422, "action")
    problem(bench.client.post(f"{API}/storage/free", json={"action": "cache", "path": "/"}), 422, "path")


def test_a_run_that_never_registered_anything_is_deleted_as_before(bench: Bench) -> None:
    uid = bench.launch()
    claim = bench.claim(uid)
    folder = bench.settings.runs_path / uid
    aged(folder / "attempt-1" / "output")
    bench.record(claim, events.Finished(step=1, output=str(folder / "attempt-1" / "output")))
    bench.finish(claim)
    assert bench.client.delete(f"{API}/runs/{uid}").status_code == 204
    assert not folder.exists()
