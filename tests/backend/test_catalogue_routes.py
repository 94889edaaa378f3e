"""What a run can be made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backend.routes.paging import pack
from copg_core.config import CONFIGS, RUN_CONFIG
from tests.backend.studio_bench import API, Bench, problem


def test_algorithms_carry_form_and_defaults(bench: Bench) -> None:
    items = bench.get("/algorithms")["items"]
    assert [item["algorithm"] for item in items] == list(CONFIGS)
    for item in items:
        assert RUN_CONFIG.validate_python(item["defaults"]).model_dump(mode="json") == item["defaults"]
        assert item["title"]
        assert item["description"]
        assert set(item["defaults"]) == set(item["config_schema"]["properties"])
    copg = next(item for item in items if item["algorithm"] == "copg")
    assert copg["defaults"]["beta"] == 0.06
    assert copg["config_schema"]["properties"]["beta"]["unit"] == "reward units per nat"


def test_models_are_presets_and_what_was_trained(bench: Bench) -> None:
    presets = bench.get("/models")["items"]
    assert [item["source"]["size"] for item in presets] == ["nano", "micro", "mini", "small"]
    assert "width 64" in presets[0]["description"]
    queued = bench.launch()
    done = bench.launch()
    bench.succeed(done)
    answer = bench.client.post(f"{API}/runs", json={"config": {"algorithm": "reward_model"}, "name": "judge"})
    bench.succeed(answer.json()["id"])
    trained = bench.get("/models")["items"][len(presets) :]
    assert [(item["run"], item["role"]) for item in trained] == [(answer.json()["id"], "reward"), (done, "policy")]
    assert trained[0]["title"] == "judge"
    assert trained[1]["source"] == {"kind": "run", "run": done}
    assert queued not in [item["run"] for item in trained]


def pages(bench: Bench, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = bench.get(path, **query)
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        query["cursor"] = page["next_cursor"]


def test_models_and_data_sets_page_by_cursor(bench: Bench, posts: Path) -> None:
    for number in range(5):
        bench.succeed(bench.launch())
        named = {"name": f"set {number}", "source": source(posts)}
        assert bench.client.post(f"{API}/datasets", json=named).status_code == 201
    for path in ("/models", "/datasets"):
        assert pages(bench, path) == bench.get(path)["items"]
        assert bench.get(path)["next_cursor"] is None
        for cursor in ("zzz", pack("a word", "two")[:-1], pack(*["word"] * (2 if path == "/models" else 1))):
            problem(bench.client.get(f"{API}{path}?cursor={cursor}"), 422, "cursor")


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"p{i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def source(path: Path, **more: Any) -> dict[str, Any]:
    return {"kind": "file", "path": str(path), **more}


def test_register_list_delete(bench: Bench, posts: Path) -> None:
    [built_in] = bench.get("/datasets")["items"]
    assert (built_in["id"], built_in["source"]["kind"]) == (None, "task")
    answer = bench.client.post(f"{API}/datasets", json={"name": "mine", "source": source(posts)})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["name"], made["rows"]) == ("mine", 20)
    assert len(made["content_hash"]) == 64
    assert made["shape"]
    assert bench.get("/datasets")["items"] == [built_in, made]
    problem(bench.client.post(f"{API}/datasets", json={"name": "mine", "source": source(posts)}), 409)
    assert bench.client.delete(f"{API}/datasets/{made['id']}").status_code == 204
    problem(bench.client.delete(f"{API}/datasets/{made['id']}"), 404)
    assert bench.get("/datasets")["items"] == [built_in]


def test_bad_source_is_named(bench: Bench, tmp_path: Path) -> None:
    for path in ("/routes", "/routes/preview"):
        where = path.replace("/routes", f"{API}/datasets")
        name = {} if path.endswith("preview") else {"name": "x"}
        missing = problem(
            bench.client.post(where, json={**name, "source": source(tmp_path / "no.jsonl")}), 422, "source"
        )
        assert "no.jsonl" in missing["detail"]
        problem(bench.client.post(where, json={**name, "source": {"kind": "file"}}), 422, "source.path")
        problem(bench.client.post(where, json={**name, "source": {"kind": "hub", "id": "a b"}}), 422, "source.id")


def test_preview(bench: Bench, posts: Path) -> None:
    body = {"source": source(posts), "algorithm": "copg", "rows": 2}
    seen = bench.client.post(f"{API}/datasets/preview", json=body).json()
    assert seen["columns"] == ["prompt", "chosen", "rejected"]
    assert len(seen["rows"]) == 2
    assert (seen["rows"][0]["prompt"], seen["rows"][0]["completion_1"]) == ("p0", "good 0")
    task = bench.client.post(f"{API}/datasets/preview", json={"source": {"kind": "task"}, "algorithm": "sft"})
    assert task.status_code == 200, task.text
    assert task.json()["rows"][0]["completion"]


@pytest.mark.parametrize("kind", ["file", "task"])
def test_preview_of_prompts_alone(bench: Bench, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "p0"}\n{"prompt": "p1"}\n')
    body = {"source": source(path) if kind == "file" else {"kind": "task"}, "algorithm": "copg"}
    url, policy = f"{API}/datasets/preview", {"first": "policy", "second": "policy"}
    seen = bench.client.post(url, json=body | {"sampling": policy})
    assert seen.status_code == 200, seen.text
    rows = seen.json()["rows"]
    assert all({name for name, value in row.items() if value is not None} == {"prompt"} for row in rows)
    if kind == "file":
        assert [row["prompt"] for row in rows] == ["p0", "p1"]
        problem(bench.client.post(url, json=body | {"sampling": policy | {"share": 0.5}}), 422, "source")
        problem(bench.client.post(url, json=body), 422, "source")
    problem(bench.client.post(url, json=body | {"sampling": {"first": "moon"}}), 422, "sampling.first")


def test_wrong_columns_are_refused_before_anything_is_queued(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_text("a,b\n1,2\n")
    config = {"algorithm": "sft", "data": source(path)}
    refused = problem(bench.client.post(f"{API}/runs", json={"config": config}), 422, "config.data")
    assert "odd.csv" in refused["detail"]
    assert bench.get("/runs")["total"] == 0
