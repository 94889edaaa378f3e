"""Uploaded files on machines that share a database and a store, but no folder."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from backend import artifacts, data_sets, deposits, runs, store
from backend.database import NOW
from backend.deposits import Depositor
from backend.models import Run
from backend.models_artifacts import Removal
from backend.models_data import Dataset
from backend.queue import celery_app
from backend.settings import Settings
from copg_core.config import SFTConfig
from copg_core.recipe import EvaluationPlan
from copg_core.sources import PresetModel, StoredFile, UploadData
from tests.worker.conftest import Bench
from tests.worker.test_artifacts import Machines, machines
from worker import uploads
from worker.host import Host

__all__ = ["machines"]
ROWS = b"".join(json.dumps({"prompt": f"post {n}", "completion": f"summary {n}"}).encode() + b"\n" for n in range(20))


def uploaded(bench: Bench, web: Settings, content: bytes = ROWS, name: str = "rows.jsonl") -> str:
    """The id of a data set whose file stands in the web process's own folder."""
    sha256 = hashlib.sha256(content).hexdigest()
    with bench.database.transaction() as session:
        row = data_sets.add(session, data_sets.free_name(session, name), source={"kind": "upload"}, shape="",
                            content_hash=sha256, file_name=name, bytes=len(content))  # fmt: skip
    path = web.datasets_path / sha256 / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return row.uid


def reading(bench: Bench, uid: str) -> Run:
    """A queued run that trains on it."""
    config = SFTConfig(
        policy=PresetModel(size="nano"), data=UploadData(id=uid), steps=2, batch_size=4,
        evaluation=EvaluationPlan(prompts=2, every=2),
    )  # fmt: skip
    with bench.database.transaction() as session:
        return runs.create(session, config)


def trainer(bench: Bench, machines: Machines, name: str) -> Host:
    """A worker with a folder of its own that really trains."""
    host = Host(celery_app(bench.settings), machines.settings(name))
    bench.hosts.append(host)
    return host


def copies(machines: Machines) -> list[str]:
    home = machines.store / "datasets"
    return sorted(path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file())


def dataset(bench: Bench, uid: str) -> Dataset:
    with bench.database.snapshot() as session:
        return data_sets.get(session, uid)


def test_a_run_reads_an_upload_on_a_machine_that_shares_no_folder(
    bench: Bench, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = machines.settings("web")
    uid = uploaded(bench, web)
    depositor = Depositor(bench.database, web)
    assert (depositor.turn(), depositor.turn()) == (1, 0)
    assert copies(machines) == [f"{uid}/rows.jsonl"]
    run = bench.execute(reading(bench, uid), trainer(bench, machines, "two"))
    assert (run.state, run.error) == ("succeeded", None)
    cached = machines.folder / "two" / "cache" / "artifacts" / hashlib.sha256(ROWS).hexdigest() / "rows.jsonl"
    assert cached.read_bytes() == ROWS

    def no(*_: Any) -> None:
        raise AssertionError("it is in the cache already")

    monkeypatch.setattr(store, "download", no)
    assert bench.execute(reading(bench, uid), trainer(bench, machines, "two")).state == "succeeded"


def test_a_run_waits_for_a_file_that_is_on_its_way(bench: Bench, machines: Machines) -> None:
    web = machines.settings("web")
    uid = uploaded(bench, web)
    run = reading(bench, uid)
    thread = bench.start(run, trainer(bench, machines, "two"))
    bench.until(run, lambda now: now.state == "running")
    time.sleep(0.5)
    assert bench.now(run).state == "running"
    assert Depositor(bench.database, web).turn() == 1
    thread.join(60)
    assert bench.now(run).state == "succeeded"


def test_a_run_that_waits_can_be_cancelled(bench: Bench, machines: Machines) -> None:
    run = reading(bench, uploaded(bench, machines.settings("web")))
    thread = bench.start(run, trainer(bench, machines, "two"))
    bench.until(run, lambda now: now.state == "running")
    with bench.database.transaction() as session:
        runs.cancel(session, runs.get(session, run.uid))
    thread.join(20)
    assert bench.now(run).state == "cancelled"


def test_a_file_that_is_nowhere_is_explained(bench: Bench, machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PATIENCE", 0.0)
    run = bench.execute(reading(bench, uploaded(bench, machines.settings("web"))), trainer(bench, machines, "two"))
    assert (run.state, run.error_kind) == ("failed", "data")
    assert "COPG_ARTIFACTS_URL" in (run.error or "")


def test_a_damaged_copy_is_not_trained_on(bench: Bench, machines: Machines) -> None:
    web = machines.settings("web")
    uid = uploaded(bench, web)
    Depositor(bench.database, web).turn()
    (machines.store / "datasets" / uid / "rows.jsonl").write_bytes(ROWS.replace(b"post 3", b"post 4"))
    run = bench.execute(reading(bench, uid), trainer(bench, machines, "two"))
    assert (run.state, run.error_kind) == ("failed", "storage")
    assert "damaged" in (run.error or "")


def test_a_deleted_set_takes_its_copy_along_and_no_other(bench: Bench, machines: Machines) -> None:
    web = machines.settings("web")
    first = uploaded(bench, web)
    depositor = Depositor(bench.database, web)
    depositor.turn()
    with bench.database.transaction() as session:
        data_sets.delete(session, data_sets.get(session, first))
    second = uploaded(bench, web)  # the same content comes back before the first copy is gone
    depositor.turn()
    assert copies(machines) == sorted([f"{first}/rows.jsonl", f"{second}/rows.jsonl"])
    assert artifacts.remove_due(bench.database, web) == 1
    assert copies(machines) == [f"{second}/rows.jsonl"]
    file = StoredFile(sha256=hashlib.sha256(ROWS).hexdigest(), name="other.jsonl")
    with bench.database.snapshot() as session:
        found = deposits.locate(session, file)
        assert found is not None
        assert found[0] == f"{machines.store.as_uri()}/datasets/{second}"
        assert deposits.locate(session, file.model_copy(update={"name": "rows.csv"})) is None, "another format"


def test_a_set_that_is_deleted_while_it_is_brought_leaves_nothing(
    bench: Bench, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = machines.settings("web")
    uid = uploaded(bench, web)
    put = store.Store.put

    def slowly(self: store.Store, source: Path, key: str, stop: Any) -> Any:
        found = put(self, source, key, stop)
        with bench.database.transaction() as session:
            data_sets.delete(session, data_sets.get(session, uid))
        return found

    monkeypatch.setattr(store.Store, "put", slowly)
    assert Depositor(bench.database, web).turn() == 0
    assert artifacts.remove_due(bench.database, web) == 1
    assert copies(machines) == []


def test_what_the_store_refuses_is_tried_again_and_a_new_store_gets_all_of_it(
    bench: Bench, machines: Machines, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    web = machines.settings("web")
    uid = uploaded(bench, web)
    with monkeypatch.context() as broken:
        broken.setattr(store, "_upload", lambda *_: (_ for _ in ()).throw(OSError("no route to the store")))
        assert Depositor(bench.database, web).turn() == 0
    assert dataset(bench, uid).stored_url is None
    assert Depositor(bench.database, web).turn() == 1
    moved = replace(web, artifacts_url=(tmp_path / "other store").as_uri())
    assert Depositor(bench.database, moved).turn() == 1
    assert str(dataset(bench, uid).stored_url).startswith(moved.artifacts_url)
    with bench.database.snapshot() as session:
        places = list(session.scalars(select(Removal.location).where(Removal.not_before <= NOW)))
    assert places == [f"{machines.store.as_uri()}/datasets/{uid}"]


def test_without_a_store_there_is_no_thread_and_with_one_it_does_it_by_itself(bench: Bench, machines: Machines) -> None:
    before = threading.active_count()
    idle = Depositor(bench.database, bench.settings)
    idle.start()
    assert threading.active_count() == before
    idle.stop()
    web = machines.settings("web")
    depositor = Depositor(bench.database, web)
    depositor.start()
    uid = uploaded(bench, web)
    depositor.wake()
    deadline = time.monotonic() + 20
    while dataset(bench, uid).stored_url is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    depositor.stop()
