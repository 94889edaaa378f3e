"""Uploading: streamed, hashed, once for each content, nothing left of what went wrong."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from backend import uploads
from backend.errors import Invalid, NoSpace, TooLarge
from backend.settings import Settings
from tests.backend.studio_bench import API, COPG, Bench, problem
from tests.backend.upload_bench import PAIRS, analysed, lines, upload, zipped


def left(bench: Bench) -> list[str]:
    """Every file below the folder of data sets, relative to it."""
    home = bench.settings.datasets_path
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


def test_a_file_is_hashed_stored_and_analysed(bench: Bench) -> None:
    content = zipped(PAIRS)
    made = upload(bench, content, "My pairs.jsonl.gz")
    sha256 = hashlib.sha256(content).hexdigest()
    assert (made["name"], made["file_name"], made["content_hash"]) == ("My pairs.jsonl.gz", "My_pairs.jsonl.gz", sha256)
    assert (made["bytes"], made["existing"], made["source"]) == (
        len(content),
        False,
        {"kind": "upload", "id": made["id"]},
    )
    assert left(bench) == [f"{sha256}/My_pairs.jsonl.gz"]
    seen = analysed(bench, made["id"])
    assert (seen["state"], seen["rows"], seen["shape"]) == ("ready", 20, "prompt/chosen/rejected")
    assert seen["report"]["preview"][0]["completions"] == ["good 0", "bad 0"]
    assert bench.get("/datasets")["items"][1]["id"] == made["id"]


def test_a_key_stands_for_one_upload(bench: Bench) -> None:
    address, key = f"{API}/datasets/upload", {"Idempotency-Key": "night-1"}
    sent = [
        bench.client.post(address, params={"filename": "a.jsonl"}, content=lines(PAIRS), headers=key) for _ in range(2)
    ]
    assert [one.status_code for one in sent] == [201, 200]
    assert sent[0].json()["id"] == sent[1].json()["id"]
    other = bench.client.post(address, params={"filename": "a.jsonl"}, content=lines(PAIRS[1:]), headers=key)
    assert problem(other, 409)["type"] == "urn:copg:problem:idempotency-conflict"
    assert len(left(bench)) == 1  # nothing of the refused one stays
    analysed(bench, sent[0].json()["id"])
    bench.client.delete(f"{API}/datasets/{sent[0].json()['id']}")
    gone = bench.client.post(address, params={"filename": "a.jsonl"}, content=lines(PAIRS), headers=key)
    problem(gone, 410)
    assert left(bench) == []


def test_the_same_content_is_stored_once_and_says_so(bench: Bench) -> None:
    first = upload(bench, lines(PAIRS))
    again = upload(bench, lines(PAIRS), "other.jsonl", status=200)
    assert (again["id"], again["existing"]) == (first["id"], True)
    other = upload(bench, lines(PAIRS), "pairs.json")  # read in another way, so it is another data set
    assert other["id"] != first["id"]
    assert len(left(bench)) == 2
    different = upload(bench, lines(PAIRS[1:]))
    assert different["name"] == "pairs.jsonl (2)"
    problem(
        bench.client.post(
            f"{API}/datasets/upload",
            params={"filename": "a.jsonl", "name": "pairs.jsonl"},
            content=lines(PAIRS[2:]),
        ),
        409,
    )
    assert len(left(bench)) == 3


def test_a_file_beyond_the_limit_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    object.__setattr__(bench.settings, "upload_max_bytes", 1000)
    where = f"{API}/datasets/upload?filename=a.jsonl"

    def never() -> Iterator[bytes]:
        raise AssertionError("its Content-Length says enough")
        yield b""

    announced = problem(bench.client.post(where, content=never(), headers={"Content-Length": "1001"}), 413)
    assert "1,000 bytes" in announced["detail"]
    chunked = bench.client.post(where, content=iter([b"x" * 600, b"x" * 600]))
    assert "limit" in problem(chunked, 413)["detail"]
    assert left(bench) == []


@pytest.mark.parametrize("filename", ["a.txt", "a", ".jsonl", "a.parquet.gz", "../..", "é.csv.zip"])
def test_the_name_must_say_a_format(bench: Bench, filename: str) -> None:
    answer = bench.client.post(f"{API}/datasets/upload", params={"filename": filename}, content=b"x")
    assert "must end in" in problem(answer, 422, "filename")["detail"]
    assert left(bench) == []


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("../../etc/a.jsonl", "a.jsonl"),
        ("C:\\data\\a b.CSV", "a_b.CSV"),
        ("päirs\n;rm -rf.jsonl.gz", "pairs_rm_-rf.jsonl.gz"),
        ("x" * 400 + ".parquet", "x" * 112 + ".parquet"),
        ("...a.json", "a.json"),
    ],
)
def test_names_are_made_safe(given: str, safe: str) -> None:
    assert uploads.safe_name(given) == safe


def test_nothing_and_forms_are_no_files(bench: Bench) -> None:
    where = f"{API}/datasets/upload?filename=a.jsonl"
    assert "empty" in problem(bench.client.post(where, content=b""), 422, "body")["detail"]
    form = problem(bench.client.post(where, files={"file": ("a.jsonl", b"{}")}), 415)
    assert "not a form" in form["detail"]
    assert left(bench) == []


async def _pieces(*pieces: bytes, error: Exception | None = None) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    if error is not None:
        raise error


def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path), upload_max_bytes=4_000_000)
    for broken, expected in (
        (_pieces(b"x" * 3_000_000, error=ConnectionError("gone")), NoSpace),  # an OSError like any other
        (_pieces(b"x", error=KeyError("gone")), KeyError),
        (_pieces(b"x" * 3_000_000, b"x" * 3_000_000), TooLarge),
        (_pieces(), Invalid),
    ):
        with pytest.raises(expected):
            asyncio.run(uploads.receive(settings, broken))
    assert list((tmp_path / "datasets").rglob("*.part")) == []


@pytest.mark.parametrize(("number", "says"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "cannot write")])
def test_a_full_disk_is_507(bench: Bench, monkeypatch: pytest.MonkeyPatch, number: int, says: str) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(uploads, "_keep", full)
    answer = bench.client.post(f"{API}/datasets/upload?filename=a.jsonl", content=b"{}\n")
    assert says in problem(answer, 507)["detail"]
    assert left(bench) == []


def test_what_was_given_up_is_cleaned_and_what_is_used_stays(bench: Bench) -> None:
    made = upload(bench, lines(PAIRS))
    home = bench.settings.datasets_path
    old, fresh = home / ".uploads" / "old.part", home / ".uploads" / "fresh.part"
    orphan = home / ("0" * 64)
    orphan.mkdir()
    for path in (old, fresh, orphan / "a.jsonl"):
        path.write_bytes(b"x")
    past = time.time() - 2 * uploads.STALE_SECONDS
    for path in (old, orphan, home / made["content_hash"]):
        os.utime(path, (past, past))
    uploads.clean(bench.database, bench.settings)
    assert left(bench) == sorted([".uploads/fresh.part", f"{made['content_hash']}/pairs.jsonl"])


def test_the_run_keeps_id_and_hash(bench: Bench) -> None:
    made = upload(bench, lines(PAIRS))
    analysed(bench, made["id"])
    data = {"kind": "upload", "id": made["id"], "limit": 5}
    uid = bench.launch(data=data, reward={"kind": "data"})
    config = bench.get(f"/runs/{uid}")["config"]["data"]
    assert config["file"] == {"sha256": made["content_hash"], "name": "pairs.jsonl"}
    assert (config["id"], config["limit"]) == (made["id"], 5)
    assert bench.get("/datasets")["items"][1]["runs"] == 1
    again = bench.client.post(f"{API}/runs", json={"config": {**COPG, "data": config, "reward": {"kind": "data"}}})
    assert again.status_code == 201, again.text  # a clone sends what the first run was given


def test_wrong_uses_of_an_upload_name_their_field(bench: Bench) -> None:
    def refused(data: dict[str, object], field: str = "config.data.id") -> str:
        config = {**COPG, "reward": {"kind": "data"}, "data": {"kind": "upload", **data}}
        return str(problem(bench.client.post(f"{API}/runs", json={"config": config}), 422, field)["detail"])

    assert "no uploaded data set" in refused({"id": "0" * 32})
    refused({"id": "../../etc/passwd"})
    made = upload(bench, b'{"x": 1}\n', "odd.jsonl")
    assert "odd.jsonl, row 1" in analysed(bench, made["id"])["error"]
    assert "odd.jsonl, row 1" in refused({"id": made["id"]})
    single = upload(bench, lines([{"prompt": "a", "completion": "b"}]), "single.jsonl")
    analysed(bench, single["id"])
    assert "need pairs" in refused({"id": single["id"]}, "config.data")
    assert bench.get("/runs")["total"] == 0
