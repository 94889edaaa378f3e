"""Uploaded files on machines that share a database and a store, but no folder."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from backend import artifacts, data_sets, deposits, runs, store
from backend.database import NOW
from backend.deposits import Depositor
from backend.main import create_app
from backend.models import Run
from backend.models_artifacts import Removal
from backend.models_data import Dataset
from backend.queue import celery_app
from backend.settings import Settings
from copg_core.config import SFTConfig
from copg_core.datasets import stored
from copg_core.recipe import EvaluationPlan
from copg_core.sources import PresetModel, StoredFile, UploadData
from tests.worker.conftest import Bench
from tests.worker.test_artifacts import Machines, machines
from worker import uploads
from worker.fetch import Fetcher
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
    return sorted(f"{path.parent.parent.name}/{path.name}" for path in home.rglob("*") if path.is_file())


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
    thread.join(60)
    assert bench.now(run).state == "cancelled"


def test_a_file_that_never_comes_or_is_gone_is_explained(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines = Machines(bench, tmp_path, artifacts_patience_seconds=0.1)
    monkeypatch.setattr(uploads, "_LOOK_SECONDS", 0.05)
    web = machines.settings("web")
    uid = uploaded(bench, web)
    run = bench.execute(reading(bench, uid), trainer(bench, machines, "two"))
    assert (run.state, run.error_kind) == ("failed", "storage")
    assert "rows.jsonl has not reached the store" in (run.error or "")
    Depositor(bench.database, web).turn()
    shutil.rmtree(machines.store / "datasets")
    run = bench.execute(reading(bench, uid), trainer(bench, machines, "two"))
    assert (run.state, run.error_kind) == ("failed", "storage")
    assert "is gone from the store" in (run.error or "")
    with TestClient(create_app(web), "http://127.0.0.1:8000") as client:  # what the message says is done
        answer = client.post("/api/v1/datasets/upload", params={"filename": "rows.jsonl"}, content=ROWS)
        assert (answer.status_code, answer.json()["id"]) == (200, uid)
        assert client.post(f"/api/v1/runs/{run.uid}/resume").status_code == 200
        deadline = time.monotonic() + 20
        while dataset(bench, uid).stored_url is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert bench.execute(run, trainer(bench, Machines(bench, tmp_path), "two")).state == "succeeded"


def test_many_attempts_fetch_one_file_once(bench: Bench, machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    web, two = machines.settings("web"), machines.settings("two")
    uploaded(bench, web)
    Depositor(bench.database, web).turn()
    file = StoredFile(sha256=hashlib.sha256(ROWS).hexdigest(), name="rows.jsonl")
    with bench.database.snapshot() as session:
        copy = deposits.locate(session, file)
    assert copy is not None
    download, downloads = store.download, []

    def slowly(*given: Any) -> None:
        downloads.append(given)
        time.sleep(0.05)
        download(*given)

    monkeypatch.setattr(store, "download", slowly)
    found: list[Path | None] = []

    def fetch() -> None:
        fetcher = Fetcher(two)
        for _ in range(20):
            folder = fetcher.fetch_file(*copy)
            found.append(folder and stored.find(file, folder))
        fetcher.close()

    threads = [threading.Thread(target=fetch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 160
    assert {one and one.read_bytes() for one in found} == {ROWS}
    assert len(downloads) == 1


def test_a_damaged_copy_is_not_trained_on(bench: Bench, machines: Machines) -> None:
    web = machines.settings("web")
    uid = uploaded(bench, web)
    Depositor(bench.database, web).turn()
    [copy] = (machines.store / "datasets" / uid).glob("*/rows.jsonl")
    copy.write_bytes(ROWS.replace(b"post 3", b"post 4"))
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
        assert found[0].startswith(f"{machines.store.as_uri()}/datasets/{second}/")
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
    with monkeypatch.context() as broken:  # it takes the bytes and does not answer what became of them
        broken.setattr(store, "size", lambda _: (_ for _ in ()).throw(OSError("403")))
        assert Depositor(bench.database, web).turn() == 0
    assert copies(machines) == [], "nothing that no row knows is left"
    assert Depositor(bench.database, web).turn() == 1
    first = str(dataset(bench, uid).stored_url)
    moved = replace(web, artifacts_url=(tmp_path / "other store").as_uri())
    assert Depositor(bench.database, moved).turn() == 1
    assert str(dataset(bench, uid).stored_url).startswith(moved.artifacts_url)
    with bench.database.snapshot() as session:
        places = list(session.scalars(select(Removal.location).where(Removal.not_before <= NOW)))
    assert places == [first.rpartition("/")[0]]
    # Back again, by another spelling of the same place, before the first copy was cleared.
    back = replace(web, artifacts_url=str(machines.store))
    assert Depositor(bench.database, back).turn() == 1
    assert artifacts.remove_due(bench.database, back) == 2
    assert copies(machines) == [f"{uid}/rows.jsonl"]
    assert not list((tmp_path / "other store").rglob("*.jsonl"))


def test_a_file_that_has_changed_is_not_brought(
    bench: Bench, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = machines.settings("web")
    uid = uploaded(bench, web)
    [path] = web.datasets_path.rglob("rows.jsonl")
    path.write_bytes(b"another")
    fresh = uploaded(bench, web, ROWS + b'{"prompt": "p", "completion": "c"}\n')
    depositor = Depositor(bench.database, web)
    assert depositor.turn() == 1, "the other one, which does not wait for it"
    assert copies(machines) == [f"{fresh}/rows.jsonl"]
    monkeypatch.setattr(deposits, "hash_file", lambda *_: pytest.fail("it is left alone for a while"))
    assert depositor.turn() == 0
    assert dataset(bench, uid).stored_url is None


def test_without_a_store_there_is_no_thread(bench: Bench) -> None:
    idle = Depositor(bench.database, bench.settings)
    idle.start()
    assert not any(one.name == "deposits" for one in threading.enumerate())
    idle.stop()


def test_what_the_web_process_receives_it_brings_to_the_store(
    bench: Bench, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deposits, "_SECONDS", 600.0)  # woken by the upload, or not at all
    with TestClient(create_app(machines.settings("web")), "http://127.0.0.1:8000") as client:
        deadline = time.monotonic() + 20
        answer = client.post("/api/v1/datasets/upload", params={"filename": "rows.jsonl"}, content=ROWS)
        assert answer.status_code == 201, answer.text
        while dataset(bench, answer.json()["id"]).stored_url is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert copies(machines) == [f"{answer.json()['id']}/rows.jsonl"]
