"""Runs over REST: create, list, change, stop, start again, delete."""

from __future__ import annotations

from typing import Any

import pytest

from backend import runs
from backend.states import RunState
from copg_core import events
from tests.backend.studio_bench import API, COPG, Bench, evaluation, problem


def post(bench: Bench, body: dict[str, Any], **headers: str) -> Any:
    return bench.client.post(f"{API}/runs", json=body, headers=headers)


def test_create_answers_with_the_run_and_its_address(bench: Bench) -> None:
    answer = post(bench, {"config": {**COPG, "beta": 0.3}, "name": "first", "notes": "why", "priority": 5})
    run = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{API}/runs/{run['id']}"
    assert (run["name"], run["algorithm"], run["beta"], run["state"]) == ("first", "copg", 0.3, "queued")
    assert (run["notes"], run["priority"], run["config"]["optimizer"]["learning_rate"]) == ("why", 5, 1e-6)
    assert run["created_at"].endswith("Z")
    assert run["events"][0]["target"] == "queued"
    assert bench.get(f"/runs/{run['id']}") == run


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"beta": 0}, "config.beta"),
    ({"beta": "much"}, "config.beta"),
    ({"stepz": 1}, "config.stepz"),
    ({"optimizer": {"learning_rate": 2}}, "config.optimizer.learning_rate"),
    ({"policy": {"kind": "run"}}, "config.policy.run"),
    ({"policy": {"kind": "run", "run": "nobody"}}, "config.policy.run"),
    ({"policy": {"kind": "folder", "path": ""}}, "config.policy.path"),
    ({"policy": {"kind": "alien"}}, "config.policy.kind"),
    ({"policy": {"size": "nano"}}, "config.policy.kind"),
    ({"reward": {"kind": "run", "run": "nobody"}}, "config.reward.run"),
    ({"reward": {"kind": "data"}}, "config.reward"),
    ({"data": {"kind": "file", "path": "/posts.jsonl"}}, "config.reward"),
    ({"data": {"kind": "file", "path": 3}}, "config.data.path"),
    ({"data": {"kind": "file", "path": "/nowhere/posts.jsonl"}, "reward": {"kind": "data"}}, "config.data"),
    ({"evaluation": {"generation": {"max_new_tokens": 0}}}, "config.evaluation.generation.max_new_tokens"),
    ({"algorithm": "ppo"}, "config.algorithm"),
]


def test_wrong_field_is_named(bench: Bench) -> None:
    for change, field in WRONG:
        problem(post(bench, {"config": {**COPG, **change}}), 422, field)
    assert bench.get("/runs")["total"] == 0


def test_missing_algorithm_and_body_are_named(bench: Bench) -> None:
    problem(post(bench, {"config": {"beta": 1}}), 422, "config.algorithm")
    problem(post(bench, {}), 422, "config")
    problem(post(bench, {"config": COPG, "nmae": "x"}), 422, "nmae")
    problem(bench.client.post(f"{API}/runs", content=b"{", headers={"content-type": "application/json"}), 422)


def test_sft_reward_union_gives_clean_paths(bench: Bench) -> None:
    problem(post(bench, {"config": {"algorithm": "sft", "reward": {"kind": "run"}}}), 422, "config.reward.run")


def test_parent_of_the_wrong_kind_is_named(bench: Bench) -> None:
    answer = post(bench, {"config": {"algorithm": "reward_model"}})
    reward_model = answer.json()["id"]
    sft = post(bench, {"config": {"algorithm": "sft"}}).json()["id"]
    wrong_policy = {**COPG, "policy": {"kind": "run", "run": reward_model}}
    assert "policy" in problem(post(bench, {"config": wrong_policy}), 422, "config.policy.run")["detail"]
    wrong_reward = {**COPG, "reward": {"kind": "run", "run": sft}}
    problem(post(bench, {"config": wrong_reward}), 422, "config.reward.run")


def test_child_waits_for_its_parent(bench: Bench) -> None:
    sft = post(bench, {"config": {"algorithm": "sft"}}).json()["id"]
    child = bench.get(f"/runs/{bench.launch(policy={'kind': 'run', 'run': sft})}")
    assert child["state"] == "waiting"
    assert child["parents"] == [sft]
    assert [(ref["role"], ref["id"]) for ref in child["parent_runs"]] == [("policy", sft)]
    assert [ref["id"] for ref in bench.get(f"/runs/{sft}")["children"]] == [child["id"]]


def test_idempotency_key(bench: Bench) -> None:
    body = {"config": COPG, "name": "once"}
    first = post(bench, body, **{"Idempotency-Key": "k1"})
    again = post(bench, body, **{"Idempotency-Key": "k1"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    problem(post(bench, {**body, "name": "other"}, **{"Idempotency-Key": "k1"}), 409)
    assert post(bench, body, **{"Idempotency-Key": "k2"}).json()["id"] != first.json()["id"]
    assert bench.get("/runs")["total"] == 2


def test_list_pages_through_everything_once_in_any_order(bench: Bench) -> None:
    betas = [0.5, 0.1, 0.1, 2.0]
    ids = {bench.launch(beta=beta) for beta in betas}
    ids |= {post(bench, {"config": {"algorithm": "sft"}}).json()["id"] for _ in range(3)}
    for sort in ("created_at", "beta", "name", "last_reward", "started_at"):
        for order in ("asc", "desc"):
            seen: list[dict[str, Any]] = []
            cursor: str | None = None
            while True:
                query = {"sort": sort, "order": order, "limit": 2} | ({"cursor": cursor} if cursor else {})
                page = bench.get("/runs", **query)
                assert page["total"] == 7
                seen += page["items"]
                cursor = page["next_cursor"]
                if cursor is None:
                    break
            assert len(seen) == 7
            assert {run["id"] for run in seen} == ids
            if sort == "beta":
                values = [run["beta"] for run in seen]
                assert values == sorted(betas, reverse=order == "desc") + [None] * 3


def test_list_filters(bench: Bench) -> None:
    sft = post(bench, {"config": {"algorithm": "sft"}, "name": "Fine tuning", "notes": "überall"}).json()["id"]
    copg = bench.launch(policy={"kind": "folder", "path": "/models/größe 100%"})
    bench.client.post(f"{API}/runs/{copg}/cancel")

    def found(**query: Any) -> list[str]:
        return [run["id"] for run in bench.get("/runs", **query)["items"]]

    assert found(state="cancelled") == [copg]
    assert set(found(state=["cancelled", "queued"])) == {sft, copg}
    assert found(algorithm="sft") == [sft]
    assert found(search="FINE tun") == [sft]
    assert found(search=sft[:8]) == [sft]
    assert found(search="größe") == [copg]
    assert found(search="100%") == [copg]
    assert found(search="0%1") == []
    assert found(search="überall") == [sft]
    assert found(pipeline="none") == []
    assert bench.get("/runs", state="cancelled")["total"] == 1


def test_list_refuses_nonsense(bench: Bench) -> None:
    problem(bench.client.get(f"{API}/runs?state=sleeping"), 422, "state.0")
    problem(bench.client.get(f"{API}/runs?sort=colour"), 422, "sort")
    problem(bench.client.get(f"{API}/runs?limit=0"), 422, "limit")
    for cursor in ("zzz", "W10", "eyJhIjoxfQ"):
        problem(bench.client.get(f"{API}/runs?cursor={cursor}"), 422, "cursor")


def test_cursor_of_another_order_is_refused(bench: Bench) -> None:
    for _ in range(3):
        bench.launch()
    cursor = bench.get("/runs", limit=1, sort="name")["next_cursor"]
    problem(bench.client.get(f"{API}/runs?sort=created_at&cursor={cursor}"), 422, "cursor")


def test_patch(bench: Bench) -> None:
    uid = bench.launch()
    before = bench.get(f"/runs/{uid}")
    answer = bench.client.patch(f"{API}/runs/{uid}", json={"name": "renamed", "priority": 9})
    after = answer.json()
    assert (after["name"], after["priority"], after["notes"]) == ("renamed", 9, before["notes"])
    assert after["rev"] > before["rev"]
    problem(bench.client.patch(f"{API}/runs/{uid}", json={"name": ""}), 422, "name")
    problem(bench.client.patch(f"{API}/runs/{uid}", json={"state": "failed"}), 422, "state")


def test_cancel_resume_retry(bench: Bench) -> None:
    uid = bench.launch()
    problem(bench.client.post(f"{API}/runs/{uid}/resume"), 409)
    assert bench.client.post(f"{API}/runs/{uid}/cancel").json()["state"] == "cancelled"
    problem(bench.client.post(f"{API}/runs/{uid}/cancel"), 409)
    assert bench.client.post(f"{API}/runs/{uid}/resume").json()["state"] == "queued"
    claim = bench.claim(uid)
    bench.record(claim, evaluation(0))
    assert bench.client.post(f"{API}/runs/{uid}/cancel").json()["state"] == "cancelling"
    problem(bench.client.delete(f"{API}/runs/{uid}"), 409)
    bench.finish(claim, RunState.CANCELLED)
    assert len(bench.get(f"/runs/{uid}/evaluations")["items"]) == 1
    assert bench.client.post(f"{API}/runs/{uid}/retry").json()["state"] == "queued"
    assert bench.get(f"/runs/{uid}/evaluations")["items"] == []


def test_delete_takes_the_files_too(bench: Bench) -> None:
    sft = post(bench, {"config": {"algorithm": "sft"}}).json()["id"]
    child = bench.launch(policy={"kind": "run", "run": sft})
    folder = runs.folder(bench.settings, child)
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("hello")
    problem(bench.client.delete(f"{API}/runs/{sft}"), 409)
    answer = bench.client.delete(f"{API}/runs/{child}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert not folder.exists()
    problem(bench.client.get(f"{API}/runs/{child}"), 404)
    assert bench.client.delete(f"{API}/runs/{sft}").status_code == 204


def test_remaining_time_comes_from_the_pace_of_this_attempt(bench: Bench) -> None:
    uid = bench.launch()
    claim = bench.claim(uid)
    bench.record(claim, events.Started(step=0, total_steps=100))
    assert bench.get(f"/runs/{uid}")["remaining_seconds"] is None
    bench.record(claim, events.Metrics(step=25, values={"loss": 1.0}))
    run = bench.get(f"/runs/{uid}")
    row = bench.row(uid)
    assert row.training_started_at is not None
    expected = (row.changed_at - row.training_started_at) / 25 * 75
    assert run["remaining_seconds"] == pytest.approx(expected, abs=0.06)
    bench.finish(claim)
    assert bench.get(f"/runs/{uid}")["remaining_seconds"] is None
