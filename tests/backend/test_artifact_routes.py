"""Listing, downloading, pinning and deleting what runs left behind, from the data folder and from another store."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import uuid
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from backend import claims
from backend.artifacts import Kept, Retain
from backend.database import Database
from backend.main import create_app
from backend.models_artifacts import Artifact, Removal
from backend.settings import Settings
from backend.states import RunState
from backend.store import Store
from copg_core import events
from copg_core.recipe import Checkpoints
from tests.backend.studio_bench import API, COPG, LOCAL, Bench, problem

pytestmark = pytest.mark.usefixtures("own_removals")

FILES = {"model.safetensors": b"0123456789" * 100, "tokenizer/tokenizer.json": b"{}", "empty": b""}


def keep(bench: Bench, claim: claims.Claim, kind: Any, name: str, url: str = "", step: int | None = None) -> Kept:
    """Files of an attempt as a worker leaves them: in the data folder, or under another URL."""
    settings = replace(bench.settings, artifacts_url=url)
    key = f"runs/{claim.uid}/attempt-{claim.fence}/{name}"
    folder = bench.settings.data_path / key
    for file, content in FILES.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    location, files = Store(settings).put(folder, key)
    return Kept(kind, name.rpartition("/")[2], location, files, step)


@pytest.fixture(params=["the data folder", "memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {"memory": f"memory://{uuid.uuid4().hex}", "file": (tmp_path / "store").as_uri()}.get(request.param, "")


def finished(bench: Bench, url: str = "") -> tuple[str, dict[str, Any]]:
    """A run with an output; its id, and the output as the API lists it."""
    uid = bench.launch()
    claim = bench.claim(uid)
    item = keep(bench, claim, "output", "output", url)
    bench.record(claim, item, events.Finished(step=100, output=item.location))
    bench.finish(claim)
    listed = bench.get(f"/runs/{uid}/artifacts")
    assert listed["path"] == item.location
    [output] = listed["artifacts"]
    return uid, output


def test_everything_is_listed_with_size_and_hash(bench: Bench, url: str) -> None:
    uid, output = finished(bench, url)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    assert {file["name"]: file["sha256"] for file in output["files"]} == hashes
    assert (output["kind"], output["bytes"], output["attempt"]) == ("output", 1002, 1)
    assert bench.get(f"/artifacts/{output['id']}") == output
    items = bench.get(f"/runs/{uid}/artifacts")["items"]
    assert items[1] == {"name": "model.safetensors", "bytes": 1000, "sha256": hashes["model.safetensors"]}


def test_files_by_number_whole_and_in_ranges(bench: Bench, url: str) -> None:
    _, output = finished(bench, url)
    weights = next(file for file in output["files"] if file["name"] == "model.safetensors")
    address = f"{API}/artifacts/{output['id']}/files/{weights['number']}"
    whole = bench.client.get(address)
    assert whole.content == FILES["model.safetensors"]
    assert whole.headers["etag"] == f'"{weights["sha256"]}"'
    assert 'filename="model.safetensors"' in whole.headers["content-disposition"]
    for wanted, part in [("bytes=2-5", slice(2, 6)), ("bytes=990-", slice(990, None)), ("bytes=-3", slice(-3, None))]:
        answer = bench.client.get(address, headers={"Range": wanted})
        assert (answer.status_code, answer.content) == (206, FILES["model.safetensors"][part])
        assert answer.headers["content-range"].endswith("/1000")
    refused = bench.client.get(address, headers={"Range": "bytes=5000-"})
    assert problem(refused, 416)["type"] == "urn:copg:problem:range-not-satisfiable"
    assert refused.headers["content-range"] == "bytes */1000"
    for odd in (
        "bytes=abc",
        "bytes=-",
        "lines=1-2",
        "bytes=0-1,5-6",
        "bytes=" + "9" * 30 + "-",
    ):  # no range we know: all of it
        answer = bench.client.get(address, headers={"Range": odd})
        assert (answer.status_code, len(answer.content)) == (200, 1000), odd
    known = bench.client.get(address, headers={"If-None-Match": f'"x", {whole.headers["etag"]}'})
    assert (known.status_code, known.content) == (304, b"")
    changed = bench.client.get(address, headers={"Range": "bytes=2-5", "If-Range": '"other"'})
    assert (changed.status_code, len(changed.content)) == (200, 1000)


@pytest.mark.parametrize("form", ["zip", "tar"])
def test_an_artifact_as_one_archive(bench: Bench, url: str, form: str) -> None:
    _, output = finished(bench, url)
    answer = bench.client.get(f"{API}/artifacts/{output['id']}/archive", params={"format": form})
    assert answer.status_code == 200
    content = io.BytesIO(answer.content)
    if form == "zip":
        with zipfile.ZipFile(content) as archive:
            assert archive.testzip() is None
            found = {name: archive.read(name) for name in archive.namelist()}
    else:
        with tarfile.open(fileobj=content) as tar:
            found = {item.name: tar.extractfile(item).read() for item in tar}  # type: ignore[union-attr]
    assert found == {f"output/{name}": content for name, content in FILES.items()}


@pytest.mark.parametrize("name", ["..%2Fsecret.txt", "%2Fetc%2Fpasswd", "a%2F..%2F..%2Fsecret.txt", "x%00", "%2E"])
def test_no_name_leads_out(bench: Bench, url: str, name: str) -> None:
    uid, output = finished(bench, url)
    (bench.settings.runs_path / uid / "attempt-1" / "secret.txt").write_text("secret")
    answer = bench.client.get(f"{API}/runs/{uid}/artifacts/{name}")
    assert answer.status_code in (404, 422)
    assert "secret" not in answer.json().get("title", "")
    assert bench.client.get(f"{API}/artifacts/{output['id']}/files/{name}").status_code in (404, 422)
    assert bench.client.get(f"{API}/artifacts/{name}").status_code in (404, 422)


def test_what_a_moved_data_folder_holds_is_found(bench: Bench, tmp_path: Path) -> None:
    uid, output = finished(bench)
    moved = replace(bench.settings, data_dir=str(tmp_path / "elsewhere"))
    shutil.move(bench.settings.data_path, moved.data_path)
    numbers = {file["name"]: file["number"] for file in output["files"]}
    with TestClient(create_app(moved), base_url=LOCAL) as client:
        for address in (f"/runs/{uid}/artifacts/model.safetensors",
                        f"/artifacts/{output['id']}/files/{numbers['model.safetensors']}"):  # fmt: skip
            assert client.get(f"{API}{address}").content == FILES["model.safetensors"]
        archive = client.get(f"{API}/artifacts/{output['id']}/archive")
        assert (
            zipfile.ZipFile(io.BytesIO(archive.content)).read("output/model.safetensors") == FILES["model.safetensors"]
        )
        assert len(client.get(f"{API}/runs/{uid}/artifacts").json()["items"]) == len(FILES)
        assert client.delete(f"{API}/runs/{uid}").status_code == 204
    assert list(moved.runs_path.glob("*/attempt-*")) == []


def test_what_is_not_there_is_said(bench: Bench, url: str) -> None:
    uid, output = finished(bench, url)
    assert bench.client.get(f"{API}/runs/{uid}/artifacts/model.safetensors").content == FILES["model.safetensors"]
    problem(bench.client.get(f"{API}/runs/{uid}/artifacts/none"), 404)
    problem(bench.client.get(f"{API}/artifacts/{output['id']}/files/99"), 404)
    problem(bench.client.get(f"{API}/artifacts/none"), 404)
    from backend import store

    store.remove(output["url"])
    problem(bench.client.get(f"{API}/artifacts/{output['id']}/files/0"), 404)
    problem(bench.client.get(f"{API}/artifacts/{output['id']}/archive"), 404)


def saved(bench: Bench, claim: claims.Claim, step: int, url: str, plan: Checkpoints | None = None) -> str:
    item = keep(bench, claim, "checkpoint", f"checkpoints/step-{step}", url, step)
    retain = [Retain(plan, None)] if plan else []
    bench.record(claim, item, events.CheckpointSaved(step=step, path=item.location, bytes=item.bytes), *retain)
    return item.location


def test_checkpoints_are_pinned_and_deleted(bench: Bench, url: str) -> None:
    uid = bench.launch()
    claim = bench.claim(uid)
    for step in (10, 20, 30):
        saved(bench, claim, step, url)
    address = f"{API}/runs/{uid}/checkpoints"
    pinned = bench.client.patch(f"{address}/10", json={"pinned": True}).json()
    assert [item["pinned"] for item in pinned["items"]] == [True, False, False]
    problem(bench.client.delete(f"{address}/10"), 409)
    problem(bench.client.delete(f"{address}/30"), 409)  # the run goes on from it
    problem(bench.client.delete(f"{address}/30", params={"dry_run": True}), 409)
    problem(bench.client.delete(f"{address}/11"), 404)
    problem(bench.client.delete(f"{address}/{2**70}"), 404)
    saved(bench, claim, 40, url, Checkpoints(keep=1))
    assert [item["step"] for item in bench.get(f"/runs/{uid}/checkpoints")["items"]] == [10, 40]
    bench.finish(claim, RunState.FAILED)
    assert bench.client.delete(f"{address}/40", params={"dry_run": True}).status_code == 204
    assert [item["step"] for item in bench.get(f"/runs/{uid}/checkpoints")["items"]] == [10, 40]
    assert bench.client.delete(f"{address}/40").status_code == 204
    assert bench.row(uid).checkpoint_step == 10  # what is left is what it resumes from
    assert bench.client.patch(f"{address}/10", json={"pinned": False}).status_code == 200
    assert bench.client.delete(f"{address}/10").status_code == 204
    assert bench.row(uid).checkpoint_step is None
    assert bench.get(f"/runs/{uid}/checkpoints")["items"] == []
    assert not list(bench.settings.runs_path.rglob("step-*"))
    with bench.database.snapshot() as session:
        assert session.scalars(select(Removal)).all() == []


def test_deleting_a_run_deletes_what_it_left(bench: Bench, url: str, tmp_path: Path) -> None:
    uid, output = finished(bench, url)
    assert bench.client.delete(f"{API}/runs/{uid}").status_code == 204
    assert not list(bench.settings.runs_path.glob("*"))
    assert not list((tmp_path / "store").rglob("*.safetensors"))
    problem(bench.client.get(f"{API}/artifacts/{output['id']}"), 404)
    with bench.database.snapshot() as session:
        assert session.scalars(select(Artifact)).all() == []
        assert session.scalars(select(Removal)).all() == []


def test_a_retry_drops_what_the_first_try_left(bench: Bench, url: str) -> None:
    uid = bench.launch()
    claim = bench.claim(uid)
    saved(bench, claim, 10, url)
    bench.finish(claim, RunState.FAILED)
    assert bench.client.post(f"{API}/runs/{uid}/retry").status_code == 200
    assert bench.get(f"/runs/{uid}/checkpoints")["items"] == []
    assert bench.get(f"/runs/{uid}/artifacts")["artifacts"] == []


def test_a_store_that_does_not_answer_is_a_503_and_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    uid, output = finished(bench, "memory://gone")
    from fsspec.implementations.memory import MemoryFileSystem

    def down(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    for name in ("info", "open", "_open", "exists", "ls"):
        monkeypatch.setattr(MemoryFileSystem, name, down)
    for path in (
        f"/artifacts/{output['id']}/files/0", f"/artifacts/{output['id']}/archive", f"/runs/{uid}/export",
        f"/runs/{uid}/artifacts/empty",
    ):  # fmt: skip
        document = problem(bench.client.get(f"{API}{path}"), 503)
        assert "no route to host" in document["detail"]
    assert bench.get(f"/runs/{uid}/artifacts")["artifacts"][0]["id"] == output["id"]  # rows need no store


def test_the_log_of_a_worker_with_another_folder_comes_from_the_store(settings: Settings, database: Database) -> None:
    with TestClient(create_app(replace(settings, artifacts_url="memory://logs")), LOCAL) as client:
        uid = client.post(f"{API}/runs", json={"config": COPG}).json()["id"]
        assert client.get(f"{API}/runs/{uid}/log").json()["text"] == ""
        elsewhere = replace(settings, data_dir=f"{settings.data_dir}-2", artifacts_url="memory://logs")
        log = elsewhere.runs_path / uid / "log.txt"
        log.parent.mkdir(parents=True)
        log.write_text("one\ntwo\nthree\n")
        Store(elsewhere).put(log, f"runs/{uid}/log.txt")
        assert client.get(f"{API}/runs/{uid}/log", params={"offset": 4, "limit": 16}).json()["text"] == "two\nthree\n"
