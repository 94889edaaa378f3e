"""How trials live beside runs: first in the line, in no list, stopped, deleted, forgotten."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from backend import claims, nodes, trials
from backend.models import TRIAL, RunParent
from backend.settings import Settings
from backend.states import RunState
from backend.webhook_sender import WebhookSender
from copg_core.trial_config import TRIAL_SCHEMA
from tests.backend.studio_bench import API, Bench, problem
from tests.backend.test_feed import watching
from tests.backend.test_trials import trained, tried, write
from tests.backend.webhook_bench import deliveries, hook, receiving
from tests.waiting import until


def test_it_stands_before_runs_and_in_none_of_their_lists(bench: Bench) -> None:
    run = trained(bench)
    waiting = bench.launch(beta=0.9)
    trial = tried(bench, run)["id"]
    assert [one["id"] for one in bench.get("/queue")["items"]] == [trial, waiting]
    assert bench.get("/queue")["items"][0]["algorithm"] == TRIAL
    listed = bench.get("/runs")
    assert ({one["id"] for one in listed["items"]}, listed["total"]) == ({run, waiting}, 2)
    assert bench.get("/runs", search="TL;DR")["items"] == []
    assert bench.get("/runs", where="state=queued")["total"] == 1
    write(bench, trial, 1.0)
    assert trial not in {one["run"] for one in bench.get("/models")["items"]}
    assert bench.get(f"/runs/{run}")["children"] == []
    for address in (f"/runs/{trial}", f"/runs/{trial}/curves", f"/compare?run={trial}", f"/samples?column={trial}@last",
                    f"/figures/reward?run={trial}", f"/runs/{trial}/log", f"/runs/{trial}/artifacts"):  # fmt: skip
        problem(bench.client.get(f"{API}{address}"), 404)
    for method, body in (("PATCH", {"name": "mine"}), ("DELETE", None)):
        problem(bench.client.request(method, f"{API}/runs/{trial}", json=body), 404)
    bulk = bench.client.post(f"{API}/runs/bulk", json={"action": "delete", "where": ["name~Trial"]}).json()
    assert bulk["items"] == []
    refused = bench.client.post(f"{API}/runs/bulk", json={"action": "delete", "ids": [trial]}).json()
    assert [one["outcome"] for one in refused["items"]] == ["refused"]
    child = {"config": {"algorithm": "sft", "policy": {"kind": "run", "run": trial}}}
    problem(bench.client.post(f"{API}/runs", json=child), 422, "config.policy.run")
    after = {"config": {"algorithm": "sft"}, "after": [trial]}
    problem(bench.client.post(f"{API}/runs", json=after), 422, "after")


def test_no_viewer_and_no_webhook_is_told(bench: Bench) -> None:
    async def scenario() -> None:
        run = trained(bench)
        async with watching(bench.database) as (_, messages):
            trial = (await asyncio.to_thread(tried, bench, run))["id"]
            await asyncio.to_thread(write, bench, trial, 1.0)
            later = await asyncio.to_thread(bench.launch)
            await asyncio.to_thread(bench.client.delete, f"{API}/trials/{trial}")
            async with asyncio.timeout(20):
                async for name, data in messages:
                    assert name != "deleted"
                    if name == "run":  # the first that is told of came after all of the trial's moves
                        assert json.loads(data)["id"] == later
                        return

    with receiving() as receiver:
        hook(bench.database, receiver.url)
        asyncio.run(scenario())
        WebhookSender(bench.database, Settings(database_url=bench.database.url)).turn()
        # The application sends too.
        until(lambda: all(one.status != "pending" for one in deliveries(bench.database)))
        told = [json.loads(body)["data"]["run"]["algorithm"] for _, body in receiver.got]
    assert told == ["copg"]


def test_a_run_that_was_tried_can_be_deleted(bench: Bench) -> None:
    run, other = trained(bench), trained(bench)
    done, queued = tried(bench, run)["id"], tried(bench, run, other)["id"]
    write(bench, done, 1.0)
    assert bench.client.delete(f"{API}/runs/{run}").status_code == 204
    [answer] = bench.get(f"/trials/{done}")["answers"]
    assert (answer["name"], answer["algorithm"], len(answer["completions"])) == (None, None, 4)
    assert bench.claim(queued).parents == {other: "/nowhere"}  # the trainer says which one is not there


def test_the_same_request_makes_one_trial(bench: Bench) -> None:
    run = trained(bench)
    key = {"Idempotency-Key": "once"}
    first = tried(bench, run, headers=key)
    assert tried(bench, run, headers=key, status=200)["id"] == first["id"]
    problem(bench.client.post(f"{API}/trials", json={"runs": [run], "prompt": "another"}, headers=key), 409)
    assert len(bench.get("/trials")["items"]) == 1


def test_it_is_stopped_and_deleted(bench: Bench) -> None:
    run = trained(bench)
    uid = tried(bench, run)["id"]
    assert bench.client.post(f"{API}/trials/{uid}/cancel").json()["state"] == "cancelled"
    problem(bench.client.post(f"{API}/trials/{uid}/cancel"), 409)
    busy = tried(bench, run)["id"]
    claim = bench.claim(busy)
    problem(bench.client.delete(f"{API}/trials/{busy}"), 409)
    assert bench.client.post(f"{API}/trials/{busy}/cancel").json()["state"] == "cancelling"
    bench.finish(claim, RunState.CANCELLED)
    for one in (uid, busy):
        assert bench.client.delete(f"{API}/trials/{one}").status_code == 204
        problem(bench.client.get(f"{API}/trials/{one}"), 404)
    problem(bench.client.get(f"{API}/trials/{run}"), 404)  # a run is no trial
    with bench.database.snapshot() as session:
        assert session.scalar(select(func.count()).select_from(RunParent)) == 0


def test_the_oldest_are_forgotten(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "MOST_KEPT", 2)
    run = trained(bench)
    made = [tried(bench, run)["id"] for _ in range(2)]
    waits = made[0]
    bench.client.post(f"{API}/trials/{made[1]}/cancel")
    folder = bench.settings.runs_path / made[1]
    folder.mkdir(parents=True)
    made += [tried(bench, run)["id"], tried(bench, run)["id"]]
    kept = [one["id"] for one in bench.get("/trials")["items"]]
    assert kept == [made[3], made[2], waits]  # what has not ended stays
    assert not folder.exists()
    page = bench.get("/trials", limit=2)
    assert [one["id"] for one in bench.get("/trials", limit=2, cursor=page["next_cursor"])["items"]] == [waits]


def test_many_who_ask_at_once_forget_each_old_one_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "MOST_KEPT", 2)
    run = trained(bench)

    def ask(_: int) -> int:
        made = bench.client.post(f"{API}/trials", json={"runs": [run], "prompt": "p"})
        bench.client.post(f"{API}/trials/{made.json()['id']}/cancel")
        return int(made.status_code)

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(ask, range(24))) == {201}
    tried(bench, run)
    assert len(bench.get("/trials")["items"]) <= 4


def test_a_worker_of_an_older_version_leaves_it_alone(bench: Bench) -> None:
    run = trained(bench)
    uid = tried(bench, run)["id"]
    with bench.database.transaction() as session:
        for name, schema in (("old", TRIAL_SCHEMA - 1), ("new", TRIAL_SCHEMA)):
            nodes.register(
                session, name, host="h", pid=1, queue="default", slots=1, version="0", devices=[], config_schema=schema
            )
        assert claims.claim(session, uid, "old", 60.0) is None
        assert claims.claim(session, uid, "new", 60.0) is not None
