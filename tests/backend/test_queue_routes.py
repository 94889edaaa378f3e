"""The line, its reasons, its switch, and what a run may ask of it, over the API."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from backend import nodes
from backend.database import NOW
from backend.models import Node, Run
from backend.nodes import GpuReading
from backend.states import RunState
from tests.backend.studio_bench import API, COPG, Bench, problem


def worker(bench: Bench, name: str = "w", gpus: int = 0, slots: int = 1) -> None:
    readings = [GpuReading(number, f"GPU-{name}-{number}", "H100", 80 * 2**30, 2**30, 7) for number in range(gpus)]
    with bench.database.transaction() as session:
        nodes.register(
            session, name, host="h", pid=1, queue="default", slots=gpus or slots, cpu_slots=0 if gpus else slots,
            version="0", devices=[], gpus=readings,
        )  # fmt: skip


def launch(bench: Bench, **body: Any) -> str:
    answer = bench.client.post(f"{API}/runs", json={"config": COPG} | body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def line(bench: Bench) -> list[tuple[str, str]]:
    return [(item["id"], item["reason"]) for item in bench.get("/queue")["items"]]


def state(bench: Bench, uid: str) -> str:
    return str(bench.get(f"/runs/{uid}")["state"])


def test_the_line_stands_in_its_order_with_reasons(bench: Bench) -> None:
    low, high = launch(bench), launch(bench, priority=5)
    assert line(bench) == [(uid, "no worker serves the queue 'default'") for uid in (high, low)]
    worker(bench, gpus=2)
    big = launch(bench, gpus=4, priority=9)
    assert line(bench)[0] == (big, "waits for 4 GPUs; the largest worker has 2")
    waiting = launch(bench, config={**COPG, "policy": {"kind": "run", "run": low}}, name="child", priority=50)
    last = bench.get("/queue")["items"][-1]
    assert (last["id"], last["position"], last["state"]) == (waiting, None, "waiting")
    assert "waits for 'copg" in last["reason"]
    assert [one["id"] for one in last["waits_for"]] == [low]
    assert (bench.get("/queue")["queued"], bench.get("/queue")["waiting"]) == (3, 1)


def test_the_first_in_vain_is_told_when_there_will_be_room(bench: Bench) -> None:
    worker(bench)
    first = bench.claim(launch(bench), "w")
    with bench.database.transaction() as session:
        begun = {"training_started_at": NOW - 100, "training_started_step": 0, "step": 50, "total_steps": 100}
        session.execute(update(Run).where(Run.id == first.run_id).values(**begun, changed_at=NOW))
    launch(bench)
    launch(bench)
    ahead, behind = bench.get("/queue")["items"]
    assert ahead["reason"] == "waits for a free slot"
    assert ahead["expected_at"] is not None
    assert behind["expected_at"] is None


def test_a_run_that_backs_off_says_until_when(bench: Bench) -> None:
    worker(bench)
    claim = bench.claim(launch(bench), "w")
    bench.finish(claim, RunState.QUEUED, delay_seconds=60)
    [item] = bench.get("/queue")["items"]
    assert (item["reason"], item["attempt"]) == ("waits before its next attempt", 1)
    assert item["not_before"] == item["expected_at"] is not None


def test_pausing_stops_handing_out_and_says_since_when(bench: Bench) -> None:
    worker(bench)
    trained = bench.claim(launch(bench), "w")
    assert bench.get("/queue")["paused"] is False
    paused = bench.client.post(f"{API}/queue/pause").json()
    assert paused["paused"] is True
    assert paused["paused_by"] == "user"
    assert bench.client.post(f"{API}/queue/pause").json() == paused
    later = launch(bench)
    bench.finish(trained)  # what trains goes on to its end
    assert line(bench) == [(later, "the queue is paused")]
    assert bench.client.post(f"{API}/queue/resume").json() == {"paused": False, "paused_since": None, "paused_by": None}
    assert bench.claim(later, "w")


def test_workers_show_their_gpus_and_who_has_them(bench: Bench) -> None:
    worker(bench, "box/1", gpus=2)
    uid = launch(bench, gpus=1, name="mine")
    bench.claim(uid, "box/1")
    [one] = bench.get("/workers")["items"]
    assert (one["slots"], one["cpu_slots"], one["busy"], one["draining"]) == (2, 0, 1, False)
    assert [(gpu["index"], gpu["run"], gpu["run_name"]) for gpu in one["gpus"]] == [(0, uid, "mine"), (1, None, None)]
    assert (one["gpus"][0]["memory_total"], one["gpus"][0]["utilisation"]) == (80 * 2**30, 7)
    run = bench.get(f"/runs/{uid}")
    assert (run["worker"], run["gpu_indices"], run["gpus"]) == ("box/1", [0], 1)
    assert run["events"][-1]["reason"] == "claimed, GPU 0"


def test_a_worker_is_asked_to_leave_by_its_name(bench: Bench) -> None:
    worker(bench, "box/1:2")
    assert bench.client.post(f"{API}/workers/box/1:2/drain").status_code == 202
    assert bench.get("/workers")["items"][0]["draining"] is True
    launch(bench)
    assert line(bench)[0][1] == "no worker serves the queue 'default'"
    worker(bench, "box/1:2")  # its heartbeat does not undo it
    assert bench.get("/workers")["items"][0]["draining"] is True
    assert "no worker is called" in problem(bench.client.post(f"{API}/workers/none/drain"), 404)["detail"]


def test_a_worker_that_is_silent_cannot_be_asked_to_leave(bench: Bench) -> None:
    worker(bench, "gone")
    with bench.database.transaction() as session:
        session.execute(update(Node).values(seen=NOW - 3 * bench.settings.lease_seconds))
    told = problem(bench.client.post(f"{API}/workers/gone/drain"), 409)["detail"]
    assert "worker 'gone' has not been heard of for 3 min" in told
    worker(bench, "gone")  # back again, and nobody has asked it to leave
    assert bench.get("/workers")["items"][0]["draining"] is False


def test_what_a_run_asks_of_the_queue_is_kept_and_can_be_changed_while_it_waits(bench: Bench) -> None:
    uid = launch(bench, gpus=4, max_attempts=7, max_seconds=3600, queue="lab")
    run = bench.get(f"/runs/{uid}")
    assert (run["gpus"], run["max_attempts"], run["max_seconds"], run["queue"]) == (4, 7, 3600, "lab")
    changed = bench.client.patch(f"{API}/runs/{uid}", json={"priority": 3, "gpus": 0, "name": "other"})
    assert changed.status_code == 200
    assert (changed.json()["priority"], changed.json()["gpus"], changed.json()["name"]) == (3, 0, "other")
    bench.claim(uid)
    late = bench.client.patch(f"{API}/runs/{uid}", json={"priority": 4, "name": "new"})
    assert "can be set while it waits" in problem(late, 409)["detail"]
    assert bench.get(f"/runs/{uid}")["name"] == "other"  # all or nothing
    assert bench.client.patch(f"{API}/runs/{uid}", json={"priority": 3, "name": "new"}).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"gpus": -1}, "gpus"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_seconds": 0}, "max_seconds"),
        ({"queue": "a b"}, "queue"),
        ({"after": ["none"]}, "after"),
        ({"after_any": ["none"]}, "after_any"),
    ],
)
def test_what_cannot_be_asked_is_named(bench: Bench, body: dict[str, Any], field: str) -> None:
    problem(bench.client.post(f"{API}/runs", json={"config": COPG} | body), 422, field)


def test_a_run_waits_for_others_that_are_no_parents(bench: Bench) -> None:
    first, other = launch(bench, name="first"), launch(bench, name="other")
    strict = launch(bench, after=[first, first])
    either = launch(bench, after_any=[first, other])
    run = bench.get(f"/runs/{strict}")
    assert (run["state"], run["parents"], run["parent_runs"]) == ("waiting", [], [])
    assert [(one["role"], one["name"]) for one in run["awaited_runs"]] == [("after.0", "first")]
    assert bench.get(f"/runs/{first}")["children"] == []
    bench.client.post(f"{API}/runs/{first}/cancel")
    assert state(bench, strict) == "cancelled"
    assert bench.get(f"/runs/{strict}")["error"] == "The run before it, 'first' was cancelled."
    assert state(bench, either) == "waiting"
    refused = bench.client.post(f"{API}/runs", json={"config": COPG, "after": [first]})
    assert "resume it first" in problem(refused, 422, "after")["detail"]
    bench.client.post(f"{API}/runs/{first}/resume")
    assert state(bench, strict) == "waiting"
    bench.succeed(first)
    assert state(bench, strict) == "queued"
    assert state(bench, either) == "waiting"
    bench.finish(bench.claim(other), RunState.FAILED)
    assert state(bench, either) == "queued"
    assert bench.get(f"/runs/{either}")["events"][-1]["reason"] == "what it waited for has ended"


def test_a_run_may_be_deleted_once_nobody_waits_for_it(bench: Bench) -> None:
    first = launch(bench, name="first")
    launch(bench, name="second", after_any=[first])
    bench.client.post(f"{API}/runs/{first}/cancel")
    assert bench.client.delete(f"{API}/runs/{first}").status_code == 204
    first = launch(bench)
    launch(bench, name="third", after=[first])
    assert "'third'" in problem(bench.client.delete(f"{API}/runs/{first}"), 409)["detail"]
