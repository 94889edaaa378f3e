"""What a run has recorded, as the page fetches it."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend import runs
from backend.routes.recorded import _whole_characters
from copg_core import events
from tests.backend.studio_bench import API, Bench, evaluation, metrics, problem


def test_curves_after_a_cursor(bench: Bench) -> None:
    uid = bench.launch()
    claim = bench.claim(uid)
    bench.record(claim, *metrics(1, 2, 3, tokens_per_second=None), *metrics(4, learning_rate=1e-6))
    curves = bench.get(f"/runs/{uid}/curves")
    assert curves["names"] == ["learning_rate", "loss", "tokens_per_second"]
    assert curves["series"]["loss"] == {"steps": [1, 2, 3, 4], "values": [1.0, 0.5, pytest.approx(1 / 3), 0.25]}
    assert curves["series"]["tokens_per_second"]["values"] == [None, None, None]
    assert (curves["last_step"], curves["fence"]) == (4, claim.fence)
    later = bench.get(f"/runs/{uid}/curves", names="loss", after=3)
    assert later["series"] == {"loss": {"steps": [4], "values": [0.25]}}
    assert later["names"] == curves["names"]
    assert bench.get(f"/runs/{uid}/curves", names=["loss", "nothing"], after=4)["series"] == {
        "loss": {"steps": [], "values": []},
        "nothing": {"steps": [], "values": []},
    }
    assert bench.get(f"/runs/{uid}/curves", after=4)["last_step"] == 4  # from where to go on
    assert bench.get(f"/runs/{bench.launch()}/curves")["last_step"] is None


def test_long_curves_are_thinned(bench: Bench) -> None:
    uid = bench.launch()
    bench.record(bench.claim(uid), *metrics(*range(1, 3001)))
    steps = bench.get(f"/runs/{uid}/curves", max_points=100)["series"]["loss"]["steps"]
    assert len(steps) <= 100
    assert (steps[0], steps[-1]) == (1, 3000)


def test_evaluations(bench: Bench) -> None:
    uid = bench.launch()
    assert bench.get(f"/runs/{uid}/evaluations") == {"fence": 0, "items": []}
    bench.record(bench.claim(uid), evaluation(0), evaluation(50, reward=1.5))
    [later] = bench.get(f"/runs/{uid}/evaluations", after=0)["items"]
    assert (later["step"], later["n"], later["reward_mean"], later["gold_mean"]) == (50, 4, 1.5, 2.0)
    assert later["values"] == {"gold_stderr": 0.2, "kl_stderr": 0.01}
    assert later["recorded_at"].endswith("Z")
    assert bench.get("/runs")["items"][0]["last_reward"] == 1.5


def test_samples_by_step(bench: Bench) -> None:
    uid = bench.launch()
    assert bench.get(f"/runs/{uid}/samples") == {
        "steps": [], "step": None, "items": [], "next_cursor": None, "total": 0
    }  # fmt: skip
    bench.record(bench.claim(uid), evaluation(0, n=5), evaluation(50, n=5))
    newest = bench.get(f"/runs/{uid}/samples", limit=3)
    assert (newest["steps"], newest["step"], newest["total"]) == ([0, 50], 50, 5)
    assert [item["prompt_index"] for item in newest["items"]] == [0, 1, 2]
    assert newest["items"][0]["finished"] is False
    rest = bench.get(f"/runs/{uid}/samples", limit=3, cursor=newest["next_cursor"])
    assert [item["completion"] for item in rest["items"]] == ["summary 3 at 50", "summary 4 at 50"]
    assert rest["next_cursor"] is None
    assert bench.get(f"/runs/{uid}/samples", step=0)["items"][0]["completion"] == "summary 0 at 0"
    assert bench.get(f"/runs/{uid}/samples", step=7)["items"] == []


def test_log_by_bytes(bench: Bench) -> None:
    uid = bench.launch()
    assert bench.get(f"/runs/{uid}/log") == {"text": "", "offset": 0, "next_offset": 0, "size": 0}
    path = runs.folder(bench.settings, uid) / "log.txt"
    path.parent.mkdir(parents=True)
    text = "".join(f"Zeile {number}: größer\n" for number in range(50))
    path.write_bytes(text.encode())
    size = len(text.encode())
    read, offset = "", 0
    while offset < size:
        chunk = bench.get(f"/runs/{uid}/log", offset=offset, limit=17)
        assert chunk["offset"] == offset
        assert chunk["next_offset"] > offset
        read, offset = read + chunk["text"], chunk["next_offset"]
    assert read == text
    tail = bench.get(f"/runs/{uid}/log", limit=50)
    assert tail["text"] == "Zeile 48: größer\nZeile 49: größer\n"
    assert (tail["next_offset"], tail["size"]) == (size, size)
    assert bench.get(f"/runs/{uid}/log", offset=size + 5)["text"] == ""


@pytest.mark.parametrize(
    ("chunk", "whole"),
    [
        ("aé".encode(), "aé"),
        ("aé".encode()[:-1], "a"),
        ("€".encode()[:2], ""),
        ("😀".encode()[:3], ""),
        ("x😀".encode(), "x😀"),
        (b"", ""),
    ],
)
def test_characters_are_never_cut(chunk: bytes, whole: str) -> None:
    assert _whole_characters(chunk).decode() == whole


def test_binary_noise_in_a_log_still_moves_on(bench: Bench) -> None:
    uid = bench.launch()
    path = runs.folder(bench.settings, uid) / "log.txt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\xf0" * 40)
    offset = 0
    for _ in range(10):
        offset = bench.get(f"/runs/{uid}/log", offset=offset, limit=16)["next_offset"]
    assert offset >= 39


def test_checkpoints(bench: Bench) -> None:
    uid = bench.launch()
    bench.record(bench.claim(uid), events.CheckpointSaved(step=50, path="/run/step-50", bytes=1234))
    [item] = bench.get(f"/runs/{uid}/checkpoints")["items"]
    assert (item["step"], item["path"], item["bytes"]) == (50, "/run/step-50", 1234)


def test_artifacts(bench: Bench, tmp_path: Path) -> None:
    uid = bench.launch()
    assert bench.get(f"/runs/{uid}/artifacts") == {"path": None, "items": [], "artifacts": []}
    problem(bench.client.get(f"{API}/runs/{uid}/artifacts/model.safetensors"), 404)
    output = tmp_path / "output"
    (output / "tokenizer").mkdir(parents=True)
    (output / "model.safetensors").write_bytes(b"weights")
    (output / "tokenizer" / "tokenizer.json").write_text("{}")
    (tmp_path / "secret.txt").write_text("secret")
    bench.succeed(uid, str(output))
    listed = bench.get(f"/runs/{uid}/artifacts")
    assert listed["path"] == str(output)
    assert listed["items"] == [
        {"name": "model.safetensors", "bytes": 7, "sha256": None},  # its output was never registered
        {"name": "tokenizer/tokenizer.json", "bytes": 2, "sha256": None},
    ]
    answer = bench.client.get(f"{API}/runs/{uid}/artifacts/tokenizer/tokenizer.json")
    assert (answer.status_code, answer.text) == (200, "{}")
    problem(bench.client.get(f"{API}/runs/{uid}/artifacts/..%2Fsecret.txt"), 422, "name")
    problem(bench.client.get(f"{API}/runs/{uid}/artifacts/none"), 404)
