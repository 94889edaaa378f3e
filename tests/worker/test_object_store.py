"""Everything that is kept, in a store that speaks S3: moto's server, through s3fs as in production."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import time
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from backend import artifacts, data_sets, drivers, retention, runs, store
from backend.deposits import Depositor
from backend.main import create_app
from backend.models import Run
from backend.settings import Settings
from backend.store import File, Store, Unreachable
from tests.worker.conftest import Bench
from tests.worker.s3_bench import PART, S3, forget_connections, s3, server
from tests.worker.s3_server import KEY_ID
from tests.worker.test_artifacts import Machines
from tests.worker.test_artifacts import artifacts as listed
from tests.worker.test_supervisor import ready
from tests.worker.test_uploads_elsewhere import ROWS, dataset, reading, uploaded
from worker import uploads
from worker.fetch import Fetcher

LOCAL = "http://127.0.0.1:8000"
API = "/api/v1"
__all__ = ["s3", "server"]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One engine is enough: what differs here is the store."""
    return sqlite_url


@pytest.fixture
def url(s3: S3) -> str:
    return f"s3://{s3.bucket()}/our prefix %20 #1"


@pytest.fixture
def machines(bench: Bench, tmp_path: Path, url: str) -> Machines:
    return Machines(bench, tmp_path, artifacts_url=url)


def on(bench: Bench, tmp_path: Path, url: str) -> Settings:
    return replace(bench.settings, data_dir=str(tmp_path / "here"), artifacts_url=url)


def folder(settings: Settings, **files: bytes) -> Path:
    """A folder of a run with files in it."""
    home = settings.runs_path / "r" / "output"
    for name, content in files.items():
        path = home / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return home


def test_what_is_put_is_got_listed_measured_and_removed(bench: Bench, tmp_path: Path, s3: S3, url: str) -> None:
    settings = on(bench, tmp_path, url)
    large = os.urandom(2 * PART + 12_345)
    contents = {"empty": b"", "large": large, "sub__a b%20::c.txt": b"hello"}
    location, files = Store(settings).put(folder(settings, **contents), "runs/r/output")
    assert s3.keys(url) == [f"runs/r/output/{name}" for name in ("empty", "large", "sub/a b%20::c.txt")]
    for file in files:
        content = contents[file.name.replace("/", "__")]
        assert (file.bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        store.download(location, file, tmp_path / "copy" / file.name)
        assert (tmp_path / "copy" / file.name).read_bytes() == content
    assert b"".join(store.read(f"{location}/large", PART - 3, 6)) == large[PART - 3 : PART + 3]
    assert store.folders(f"{url}/runs") == ["r"]
    size, newest = store.measure(f"{url}/runs")
    assert size == sum(map(len, contents.values()))
    assert newest is not None
    with pytest.raises(FileNotFoundError):
        store.size(f"{location}/another")
    assert store.folders(f"{url}/datasets") == []
    store.remove(location)
    store.remove(location)
    assert (s3.keys(url), s3.unfinished(url), store.folders(f"{url}/runs")) == ([], 0, [])


def test_what_others_write_and_remove_is_seen_at_once(s3: S3, url: str) -> None:
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    assert store.folders(f"{url}/runs") == []
    for content in (b"one", b"and two"):
        s3.client.put_object(Bucket=bucket, Key=f"{prefix}/runs/r/log.txt", Body=content)
        assert (store.size(f"{url}/runs/r/log.txt"), store.folders(f"{url}/runs")) == (len(content), ["r"])
        assert b"".join(store.read(f"{url}/runs/r/log.txt")) == content
    s3.client.delete_object(Bucket=bucket, Key=f"{prefix}/runs/r/log.txt")
    assert store.folders(f"{url}/runs") == []
    with pytest.raises(FileNotFoundError):
        store.size(f"{url}/runs/r/log.txt")


@pytest.mark.parametrize("when", ["the second part", "the end", "a person"])
def test_an_upload_that_ends_half_way_leaves_what_stood_there(
    bench: Bench, tmp_path: Path, s3: S3, url: str, when: str
) -> None:
    settings = on(bench, tmp_path, url)
    location, _ = Store(settings).put(folder(settings, model=b"the old one"), "runs/r/output")
    source = folder(settings, model=os.urandom(2 * PART + 5))
    blocks = iter(range(100))
    if when == "a person":
        with pytest.raises(store.Interrupted):
            Store(settings).put(source, "runs/r/output", lambda: next(blocks) >= 2)
    else:
        asked = ("PUT", "partNumber=2") if when == "the second part" else ("POST", "uploadId=")
        s3.refuse((*asked, "403 Forbidden", "AccessDenied"))
        with pytest.raises(PermissionError, match="Access Denied"):
            Store(settings).put(source, "runs/r/output")
        s3.refuse()
    assert b"".join(store.read(f"{location}/model")) == b"the old one"
    assert s3.unfinished(url) == 0
    Store(settings).put(source, "runs/r/output")
    assert store.size(f"{location}/model") == 2 * PART + 5


def test_a_bucket_that_is_not_there_is_no_missing_file_and_is_not_made(bench: Bench, tmp_path: Path, s3: S3) -> None:
    name = f"missing-{uuid.uuid4().hex}"
    settings = on(bench, tmp_path, f"s3://{name}/copg")
    with pytest.raises(Unreachable, match=f"does not take .*there is no bucket '{name}'"):
        Store(settings).put(folder(settings, model=b"m"), "runs/r/output")
    place = Store(settings).location("runs/r")
    for ask in (store.size, store.folders, store.measure, lambda one: list(store.read(one))):
        with pytest.raises(Unreachable, match=f"there is no bucket '{name}'"):
            ask(place)
    assert name not in [one["Name"] for one in s3.client.list_buckets()["Buckets"]]


def test_a_key_for_objects_alone_is_enough_to_keep_things(bench: Bench, tmp_path: Path, s3: S3, url: str) -> None:
    s3.refuse(
        *((method, f"{url.split('/')[2]}?", "403 Forbidden", "AccessDenied") for method in ("HEAD", "GET", "PUT"))
    )
    settings = on(bench, tmp_path, url)
    location, [file] = Store(settings).put(folder(settings, model=b"m"), "runs/r/output")
    store.download(location, file, tmp_path / "copy")


def test_a_run_goes_on_on_a_machine_that_shares_no_folder(bench: Bench, machines: Machines, s3: S3, url: str) -> None:
    run = bench.execute(bench.new(30, suicide=17, once=True), machines.host("one"))
    assert run.checkpoint_path == f"{url}/runs/{run.uid}/attempt-1/checkpoints/step-10"
    shutil.rmtree(machines.folder / "one")
    ready(bench.database, run)
    run = bench.execute(run, machines.host("two"))
    assert (run.state, run.report["attempt"]) == ("succeeded", {"from": 10})
    assert run.report["environment"]["AWS_SECRET_ACCESS_KEY"] is False, "its worker needs it, a training does not"
    assert listed(bench, run, "checkpoint") == [("step-30", 2)]
    kept = [key.partition("/checkpoints/")[2] for key in s3.keys(url) if "/checkpoints/" in key]
    assert kept == ["step-30/state.json"], "retention has removed the others"
    assert f"runs/{run.uid}/log.txt" in s3.keys(url)
    with bench.database.transaction() as session:
        artifacts.forget_runs(session, [run.id])
    assert artifacts.remove_due(bench.database, machines.settings("two")) == 1
    assert s3.keys(url) == []


def test_what_no_run_refers_to_is_found(bench: Bench, machines: Machines, s3: S3, url: str) -> None:
    settings = replace(machines.settings("one"), orphan_hours=0.0)
    lost = uuid.uuid4().hex
    Store(settings).put(folder(settings, model=b"lost"), f"runs/{lost}/attempt-1/output")
    assert retention.orphans(bench.database, settings) == [retention.Orphan(f"{url}/runs/{lost}", 4)]
    assert retention.orphans(bench.database, replace(settings, orphan_hours=1.0)) == []


def model(bench: Bench, run: Run, s3: S3, url: str) -> bytes:
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    key = f"{prefix}/runs/{run.uid}/attempt-1/output/model.txt"
    return bytes(s3.client.get_object(Bucket=bucket, Key=key)["Body"].read())


@pytest.mark.parametrize("why", ["bucket", "key", "down"])
def test_a_model_that_the_store_does_not_take_is_kept_until_it_does(
    bench: Bench, tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """Nothing is trained twice, and whoever reads the run's error learns what to put right."""
    name = f"late-{uuid.uuid4().hex}" if why == "bucket" else s3.bucket()
    url = f"s3://{name}/copg"
    impatient = Machines(bench, tmp_path, artifacts_url=url, artifacts_patience_seconds=3.0)
    if why == "key":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "OLD")
    elif why == "down":
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    run = bench.execute(bench.new(8, output="model"), impatient.host("one"))
    assert (run.state, run.error_kind) == ("failed", "storage")
    told = {"bucket": "there is no bucket", "key": "Access Key Id you provided does not exist",
            "down": "Could not connect to the endpoint"}  # fmt: skip
    assert told[why] in (run.error or "")
    assert "resume brings it there" in (run.error or "")
    assert (Path(run.output_path or "") / "model.txt").read_text() == "model"
    if why == "bucket":
        s3.client.create_bucket(Bucket=name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.address)
    forget_connections()  # the worker is started again
    with bench.database.transaction() as session:
        runs.resume(session, run)
    run = bench.execute(run, Machines(bench, tmp_path, artifacts_url=url).host("one"))
    assert (run.state, run.attempt, run.report["attempt"]) == ("succeeded", 1, {"from": 0})
    assert model(bench, run, s3, url) == b"model"


def test_an_output_that_is_taken_slowly_is_waited_for(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The patience is for a store that takes nothing: the weights of a large model may take longer than it."""
    machines = Machines(bench, tmp_path, artifacts_patience_seconds=2.0)
    upload = store._upload

    def slowly(path: Path, location: str, name: str, stop: Callable[[], bool]) -> File:
        for _ in range(40 if "/output" in location else 0):
            if stop():
                raise store.Interrupted
            time.sleep(0.1)
        return upload(path, location, name, stop)

    monkeypatch.setattr(store, "_upload", slowly)
    run = bench.execute(bench.new(3, output="model"), machines.host("one"))
    assert (run.state, run.error) == ("succeeded", None)


def test_a_checkpoint_in_a_store_that_refuses_is_not_taken_for_one_that_is_gone(
    bench: Bench, tmp_path: Path, s3: S3, url: str
) -> None:
    machines = Machines(bench, tmp_path, artifacts_url=url)
    run = bench.execute(bench.new(12, suicide=11, once=True), machines.host("one"))
    ready(bench.database, run)
    s3.refuse(*((method, "/checkpoints/", "403 Forbidden", "AccessDenied") for method in ("HEAD", "GET")))
    run = bench.execute(run, Machines(bench, tmp_path, artifacts_url=url, artifacts_patience_seconds=0.1).host("two"))
    assert (run.state, run.error_kind, run.checkpoint_step) == ("failed", "storage", 10)
    assert f"The store {url} cannot be used" in (run.error or "")
    assert "credentials of this process do not allow it" in (run.error or "")


def test_an_uploaded_file_reaches_a_worker_and_goes_with_its_data_set(
    bench: Bench, machines: Machines, s3: S3, url: str
) -> None:
    web, worker = machines.settings("web"), machines.settings("two")
    uid = uploaded(bench, web)
    depositor = Depositor(bench.database, web)
    s3.refuse(("PUT", "rows.jsonl", "403 Forbidden", "AccessDenied"))
    assert depositor.turn() == 0
    s3.refuse()
    assert s3.keys(url) == []
    assert Depositor(bench.database, web).turn() == 1
    assert [f"{url}/{key}" for key in s3.keys(url)] == [dataset(bench, uid).stored_url]
    fetcher = Fetcher(worker)
    home = uploads.bring(reading_config(bench, uid), bench.database, worker, fetcher, lambda: False)
    fetcher.close()
    assert [path.read_bytes() for path in home.rglob("rows.jsonl")] == [ROWS]
    with bench.database.transaction() as session:
        for run in session.query(Run):
            runs.cancel(session, run)
        data_sets.delete(session, data_sets.get(session, uid))
    assert artifacts.remove_due(bench.database, web) == 1
    assert s3.keys(url) == []


def reading_config(bench: Bench, uid: str) -> Any:
    from copg_core.config import RUN_CONFIG

    return RUN_CONFIG.validate_python(reading(bench, uid).config)


def test_the_page_gives_files_archives_and_logs_of_the_store_and_says_when_it_cannot(
    bench: Bench, machines: Machines, s3: S3
) -> None:
    run = bench.execute(bench.new(10, output="0123456789"), machines.host("one"))
    with TestClient(create_app(machines.settings("web")), LOCAL) as client:
        [output] = [one for one in client.get(f"{API}/runs/{run.uid}/artifacts").json()["artifacts"]
                    if one["kind"] == "output"]  # fmt: skip
        address = f"{API}/artifacts/{output['id']}"
        part = client.get(f"{address}/files/0", headers={"Range": "bytes=2-5"})
        assert (part.status_code, part.content) == (206, b"2345")
        archive = zipfile.ZipFile(io.BytesIO(client.get(f"{address}/archive").content))
        assert archive.read("output/model.txt") == b"0123456789"
        assert client.get(f"{API}/runs/{run.uid}/log").status_code == 200
        assert client.get(f"{API}/storage").json()["store"] == machines.settings("web").artifacts_url
        s3.refuse(*((method, "/runs/", "403 Forbidden", "AccessDenied") for method in ("HEAD", "GET")))
        answer = client.get(f"{address}/files/0")
        assert (answer.status_code, "the store does not give" in answer.json()["detail"]) == (503, True)


def test_a_store_that_can_never_work_is_named_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "find_spec", lambda _: object())
    for url, said in (
        ("s3://", "names no bucket"),
        ("s4://bucket/copg", "unknown beginning"),
        ("s3://bucket/runs[1]", "must not contain"),
    ):
        with pytest.raises(ValueError, match=f"COPG_ARTIFACTS_URL: .*{said}"):
            Settings(artifacts_url=url).check()
    for url in ("", "s3://bucket/a b", "file:///mnt/a[1]", "/mnt/shared", "memory://x"):
        Settings(artifacts_url=url).check()
    monkeypatch.setattr(drivers, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"pip install 'copg-studio\[s3\]'"):
        Settings(artifacts_url="s3://bucket/copg").check()
    with pytest.raises(Unreachable, match=r"pip install 'copg-studio\[s3\]'"):
        store.size("s3://bucket/copg/runs/r/log.txt")
