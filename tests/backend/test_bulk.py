"""One action on many runs: each has its own outcome."""

from __future__ import annotations

from typing import Any

from backend import runs
from backend.states import RunState
from tests.backend.studio_bench import API, Bench, problem


def bulk(bench: Bench, action: str, **request: Any) -> Any:
    answer = bench.client.post(f"{API}/runs/bulk", json={"action": action, **request})
    assert answer.status_code == 200, answer.text
    return answer.json()


def outcomes(answer: Any) -> dict[str, str]:
    return {item["id"]: item["outcome"] for item in answer["items"]}


def test_cancel_then_resume_says_what_became_of_each(bench: Bench) -> None:
    queued, training, done = bench.launch(), bench.launch(), bench.launch()
    bench.claim(training)
    bench.succeed(done)
    answer = bulk(bench, "cancel", ids=[queued, training, done, "nobody"])
    assert outcomes(answer) == {queued: "done", training: "done", done: "refused", "nobody": "refused"}
    assert (answer["done"], answer["refused"], answer["remaining"]) == (2, 2, 0)
    states = {item["id"]: item["run"] and item["run"]["state"] for item in answer["items"]}
    assert states == {queued: "cancelled", training: "cancelling", done: None, "nobody": None}
    reasons = {item["id"]: item["reason"] for item in answer["items"]}
    assert "succeeded" in reasons[done]
    assert "no run" in reasons["nobody"]
    assert outcomes(bulk(bench, "resume", where=["state=cancelled"])) == {queued: "done"}
    assert bench.row(queued).state == RunState.QUEUED


def test_rehearsal_changes_nothing_and_foretells(bench: Bench) -> None:
    sft = bench.client.post(f"{API}/runs", json={"config": {"algorithm": "sft"}}).json()["id"]
    child = bench.launch(policy={"kind": "run", "run": sft})
    rehearsed = bulk(bench, "delete", ids=[sft, child], dry_run=True)
    assert outcomes(rehearsed) == {sft: "done", child: "done"}
    assert bench.get("/runs")["total"] == 2
    assert outcomes(bulk(bench, "delete", ids=[sft], dry_run=True)) == {sft: "refused"}
    folder = runs.folder(bench.settings, child)
    folder.mkdir(parents=True)
    assert outcomes(bulk(bench, "delete", ids=[sft, child])) == {sft: "done", child: "done"}
    assert bench.get("/runs")["total"] == 0
    assert not folder.exists()


def test_parents_are_resumed_before_their_children(bench: Bench) -> None:
    sft = bench.client.post(f"{API}/runs", json={"config": {"algorithm": "sft"}}).json()["id"]
    child = bench.launch(policy={"kind": "run", "run": sft})
    assert outcomes(bulk(bench, "cancel", ids=[sft, child])) == {sft: "done", child: "done"}
    assert outcomes(bulk(bench, "retry", ids=[child, sft])) == {sft: "done", child: "done"}
    assert (bench.row(sft).state, bench.row(child).state) == (RunState.QUEUED, RunState.WAITING)


def test_tags_and_priority(bench: Bench) -> None:
    ids = [bench.launch(beta=beta) for beta in (0.1, 0.2, 0.3)]
    assert bulk(bench, "tag", where=["config.beta>0.15"], tags=["paper", "b"])["done"] == 2
    assert bench.get("/runs", where="tags=paper")["total"] == 2
    bulk(bench, "untag", where=["tags=b"], tags=["b"])
    assert [bench.row(uid).tags for uid in ids] == [[], ["paper"], ["paper"]]
    bulk(bench, "priority", ids=ids[:1], priority=7)
    assert [bench.row(uid).priority for uid in ids] == [7, 0, 0]
    full = [f"t{number}" for number in range(20)]
    bench.client.patch(f"{API}/runs/{ids[0]}", json={"tags": full})
    assert outcomes(bulk(bench, "tag", ids=ids[:2], tags=["more"])) == {ids[0]: "refused", ids[1]: "done"}


def test_request_must_be_whole(bench: Bench) -> None:
    for body in (
        {"action": "cancel"},
        {"action": "cancel", "ids": ["a"], "where": ["beta>0"]},
        {"action": "cancel", "where": []},
        {"action": "tag", "ids": ["a"]},
        {"action": "cancel", "ids": ["a"], "tags": ["x"]},
        {"action": "priority", "ids": ["a"]},
        {"action": "explode", "ids": ["a"]},
        {"action": "cancel", "ids": ["a"] * 1001},
    ):
        problem(bench.client.post(f"{API}/runs/bulk", json=body), 422)
    problem(bench.client.post(f"{API}/runs/bulk", json={"action": "cancel", "where": ["betta>0"]}), 422, "where.0")
