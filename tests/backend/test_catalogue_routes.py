"""What a run can be made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

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


def test_wrong_columns_are_refused_before_anything_is_queued(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_text("a,b\n1,2\n")
    config = {"algorithm": "sft", "data": source(path)}
    refused = problem(bench.client.post(f"{API}/runs", json={"config": config}), 422, "config.data")
    assert "odd.csv" in refused["detail"]
    assert bench.get("/runs")["total"] == 0
