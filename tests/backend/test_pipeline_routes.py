"""Pipelines: all runs or none, children waiting for their parents."""

from __future__ import annotations

from typing import Any

import pytest

from backend import presets
from backend.states import RunState
from copg_core.config import RUN_CONFIG
from tests.backend.studio_bench import API, COPG, Bench, problem

SFT = {"alias": "sft", "config": {"algorithm": "sft"}, "name": "base"}
RM = {"alias": "rm", "config": {"algorithm": "reward_model", "policy": {"kind": "run", "run": "$sft"}}}
LAST = {
    "alias": "copg",
    "config": {**COPG, "policy": {"kind": "run", "run": "$sft"}, "reward": {"kind": "run", "run": "$rm"}},
}


def post(bench: Bench, body: dict[str, Any], **headers: str) -> Any:
    return bench.client.post(f"{API}/pipelines", json=body, headers=headers)


@pytest.mark.parametrize("size", ["ci", "laptop"])
def test_miniature(bench: Bench, size: str) -> None:
    answer = post(bench, {"preset": "miniature", "size": size})
    assert answer.status_code == 201, answer.text
    pipeline = answer.json()
    sft, reward_model, copg = pipeline["runs"]
    assert [run["algorithm"] for run in pipeline["runs"]] == ["sft", "reward_model", "copg"]
    assert [run["state"] for run in pipeline["runs"]] == ["queued", "waiting", "waiting"]
    assert reward_model["parents"] == [sft["id"]]
    assert sorted(copg["parents"]) == sorted([sft["id"], reward_model["id"]])
    assert {run["pipeline"] for run in pipeline["runs"]} == {pipeline["id"]}
    assert (pipeline["preset"], pipeline["size"]) == ("miniature", size)
    assert bench.get(f"/pipelines/{pipeline['id']}") == pipeline
    assert answer.headers["location"] == f"{API}/pipelines/{pipeline['id']}"
    assert [run["id"] for run in bench.get("/runs", pipeline=pipeline["id"], order="asc")["items"]] == [
        run["id"] for run in pipeline["runs"]
    ]


def test_children_are_released_one_after_the_other(bench: Bench) -> None:
    sft, reward_model, copg = [run["id"] for run in post(bench, {"steps": [SFT, RM, LAST]}).json()["runs"]]
    for parent, child in ((sft, reward_model), (reward_model, copg)):
        assert bench.row(child).state == RunState.WAITING
        bench.succeed(parent)
        assert bench.row(child).state == RunState.QUEUED


@pytest.mark.parametrize("size", ["ci", "laptop"])
def test_preset_is_valid_before_anybody_presses_the_button(size: presets.Size) -> None:
    steps = presets.miniature(size)
    assert [step.alias for step in steps] == ["sft", "rm", "copg"]
    for step in steps:
        RUN_CONFIG.validate_python(step.config)


WRONG: list[tuple[list[Any], str]] = [
    ([], "steps"),
    ([RM], "steps.0.config.policy.run"),
    ([RM, SFT], "steps.0.config.policy.run"),
    ([SFT, {**SFT, "name": "twin"}], "steps.1.alias"),
    ([SFT, {**RM, "config": {**RM["config"], "batch_size": 0}}], "steps.1.config.batch_size"),
    ([{**SFT, "alias": "No"}], "steps.0.alias"),
    ([{"alias": "x", "config": {"algorithm": "ppo"}}], "steps.0.config.algorithm"),
    (
        [{"alias": "x", "config": {"algorithm": "sft", "data": {"kind": "file", "path": "/no"}}}],
        "steps.0.config.data",
    ),
    ([SFT, {**LAST, "config": {**COPG, "reward": {"kind": "run", "run": "$sft"}}}], "steps.1.config.reward.run"),
    ([{**SFT, "config": {"algorithm": "sft", "policy": {"kind": "run", "run": "x"}}}], "steps.0.config.policy.run"),
]


def test_wrong_step_is_named_and_nothing_is_made(bench: Bench) -> None:
    for steps, field in WRONG:
        problem(post(bench, {"steps": steps}), 422, field)
    assert bench.get("/runs")["total"] == 0
    assert bench.get("/pipelines")["items"] == []


def test_preset_and_steps_together_are_refused(bench: Bench) -> None:
    problem(post(bench, {"preset": "miniature", "steps": [SFT]}), 422, "steps")


def test_idempotency_key(bench: Bench) -> None:
    first = post(bench, {"steps": [SFT, RM]}, **{"Idempotency-Key": "p"})
    again = post(bench, {"steps": [SFT, RM]}, **{"Idempotency-Key": "p"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    problem(post(bench, {"steps": [SFT]}, **{"Idempotency-Key": "p"}), 409)
    assert bench.get("/runs")["total"] == 2


def test_list_is_newest_first_and_paged(bench: Bench) -> None:
    ids = [post(bench, {"steps": [SFT], "name": f"p{index}"}).json()["id"] for index in range(3)]
    page = bench.get("/pipelines", limit=2)
    rest = bench.get("/pipelines", limit=2, cursor=page["next_cursor"])
    assert [item["id"] for item in page["items"] + rest["items"]] == ids[::-1]
    assert rest["next_cursor"] is None
    problem(bench.client.get(f"{API}/pipelines/nobody"), 404)
