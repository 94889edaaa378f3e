"""A sweep is steered in a number of statements that does not grow with it, and deleted in short transactions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, func, select, update
from sqlalchemy.orm import Session

from backend import runs, sweep_deletion, sweeps
from backend.database import NOW, Database
from backend.models import MetricPoint, Run, RunEvent
from backend.models_sweeps import Sweep, SweepMember
from backend.run_errors import StateConflict
from backend.settings import Settings
from backend.states import RunState
from tests.backend.studio_bench import API, COPG, Bench, metrics, problem

SFT = {"policy": {"kind": "preset", "size": "nano"}, "steps": 10}


def make(bench: Bench, members: int) -> str:
    body = {"config": COPG, "grid": {"seed": list(range(members))}, "sft": SFT}
    answer = bench.client.post(f"{API}/sweeps", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def ask(bench: Bench, sweep: str, action: str) -> dict[str, Any]:
    answer = bench.client.post(f"{API}/sweeps/{sweep}/{action}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def steer(database: Database, sweep: str, act: Callable[[Session, Sweep], Any]) -> Any:
    with database.transaction() as session:
        return act(session, sweeps.get(session, sweep, lock=True))


def uids(bench: Bench, sweep: str) -> list[str]:
    return [one["run"]["id"] for one in bench.get(f"/sweeps/{sweep}/members")["items"]]


def test_statements_do_not_grow_with_the_sweep(bench: Bench) -> None:
    few, many = make(bench, 3), make(bench, 30)
    asked: list[str] = []
    event.listen(bench.database.engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
    for act in (sweeps.cancel, sweeps.resume, sweeps.begin_to_delete, sweeps.delete_some):
        counts = []
        for sweep in (few, many):
            asked.clear()
            steer(bench.database, sweep, act)
            counts.append(len(asked))
        assert counts[0] == counts[1] > 0, act.__name__


def test_each_run_moves_once_and_says_why(bench: Bench) -> None:
    sweep = make(bench, 4)
    [sft] = [one["id"] for one in bench.get(f"/sweeps/{sweep}")["parents"]]
    mine = uids(bench, sweep)
    child = bench.client.post(
        f"{API}/runs", json={"config": {**COPG, "policy": {"kind": "run", "run": mine[0]}}}
    ).json()["id"]
    assert ask(bench, sweep, "cancel")["changed"] == 5
    assert ask(bench, sweep, "cancel")["changed"] == 0
    resumed = ask(bench, sweep, "resume")
    assert (resumed["changed"], resumed["skipped"]) == (5, [])
    for uid in (sft, *mine):
        told = [(one["target"], one["reason"]) for one in bench.get(f"/runs/{uid}")["events"]]
        start = "queued" if uid == sft else "waiting"
        assert told == [(start, ""), ("cancelled", "its sweep was cancelled"), (start, "resumed")]
    told = [(one["target"], one["reason"]) for one in bench.get(f"/runs/{child}")["events"]]
    name = bench.get(f"/runs/{mine[0]}")["name"]
    assert [target for target, _ in told] == ["waiting", "cancelled", "waiting"]
    assert [reason for _, reason in told[1:]] == [
        f"its parent run {name!r} was cancelled", f"its parent run {name!r} goes on",
    ]  # fmt: skip


def test_those_that_a_parent_took_along_wait_with_it_and_are_not_counted(bench: Bench) -> None:
    sweep = make(bench, 3)
    [sft] = [one["id"] for one in bench.get(f"/sweeps/{sweep}")["parents"]]
    bench.finish(bench.claim(sft), RunState.FAILED, error="no disk", error_kind="storage")
    assert bench.get(f"/sweeps/{sweep}")["states"]["cancelled"] == 3
    resumed = ask(bench, sweep, "resume")
    assert (resumed["changed"], resumed["sweep"]["states"]["waiting"]) == (1, 3)


def test_a_sweep_goes_in_short_transactions_and_a_second_request_finishes_what_one_began(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "_DELETED_AT_ONCE", 2)
    sweep = make(bench, 6)
    [sft] = [one["id"] for one in bench.get(f"/sweeps/{sweep}")["parents"]]
    bench.succeed(sft)
    claim = bench.claim(uids(bench, sweep)[0])
    bench.record(claim, *metrics(1, 2))
    bench.finish(claim)

    steer(bench.database, sweep, sweeps.begin_to_delete)
    assert len(steer(bench.database, sweep, sweeps.delete_some)) == 2
    # As if the process had died here: no worker takes what is left, and asking again finishes.
    states = Counter(one["run"]["state"] for one in bench.get(f"/sweeps/{sweep}/members")["items"])
    assert states == {"succeeded": 1, "cancelled": 3}
    deleted: list[int] = []
    steps = sweeps.delete_some
    monkeypatch.setattr(sweeps, "delete_some", lambda *of: [deleted.append(len(found := steps(*of))), found][1])
    assert bench.client.delete(f"{API}/sweeps/{sweep}").status_code == 204
    assert deleted == [2, 2, 1, 0]
    with bench.database.snapshot() as session:
        for table in (Run, RunEvent, MetricPoint, SweepMember, Sweep):
            assert session.scalar(select(func.count()).select_from(table)) == 0
    problem(bench.client.delete(f"{API}/sweeps/{sweep}"), 404)


def test_nobody_takes_up_or_builds_on_what_is_being_deleted_so_that_it_ends(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "_DELETED_AT_ONCE", 1)
    outside = bench.launch()
    body = {"config": {**COPG, "policy": {"kind": "run", "run": outside}}, "grid": {"seed": [0, 1, 2]}}
    sweep = bench.client.post(f"{API}/sweeps", json=body).json()["id"]
    bench.client.post(f"{API}/runs/{outside}/cancel")  # its members with it
    first, second, _ = uids(bench, sweep)
    steer(bench.database, sweep, sweeps.begin_to_delete)
    bench.client.post(f"{API}/runs/{outside}/resume")
    assert bench.row(first).state == "cancelled"  # it does not wait for its parent again
    for path, sent in (
        (f"/runs/{first}/resume", None),
        (f"/runs/{first}/retry", None),
        (f"/sweeps/{sweep}/resume", None),
        (f"/sweeps/{sweep}/extend", {"grid": {"seed": [3]}}),
    ):
        assert "is being deleted" in problem(bench.client.post(f"{API}{path}", json=sent), 409)["detail"], path
    asked = {"action": "resume", "ids": [second]}
    [item] = bench.client.post(f"{API}/runs/bulk", json=asked).json()["items"]
    assert (item["outcome"], "is being deleted with its sweep" in item["reason"]) == ("refused", True)
    assert len(steer(bench.database, sweep, sweeps.delete_some)) == 1
    assert bench.client.delete(f"{API}/sweeps/{sweep}").status_code == 204
    assert bench.get("/runs")["total"] == 1


def test_no_new_run_names_one_that_is_being_deleted(bench: Bench) -> None:
    sweep = make(bench, 2)
    for uid in (bench.get(f"/sweeps/{sweep}")["parents"][0]["id"], *uids(bench, sweep)):
        bench.succeed(uid)
    first, _ = uids(bench, sweep)
    steer(bench.database, sweep, sweeps.begin_to_delete)
    policy = {"config": {**COPG, "policy": {"kind": "run", "run": first}}}
    told = problem(bench.client.post(f"{API}/runs", json=policy), 422, "config.policy.run")
    assert "is being deleted with its sweep" in told["detail"]
    problem(bench.client.post(f"{API}/runs", json={"config": COPG, "after": [first]}), 422, "after")
    assert bench.get("/runs")["total"] == 3


def test_who_waits_for_something_else_too_does_not_stop_a_deletion(bench: Bench) -> None:
    """It had ended when the deletion began, and would wait for a member again that has succeeded long ago."""
    other = bench.launch()
    sweep = make(bench, 2)
    bench.succeed(bench.get(f"/sweeps/{sweep}")["parents"][0]["id"])
    for uid in uids(bench, sweep):
        bench.succeed(uid)
    after = {"config": {"algorithm": "sft", **SFT}, "after": [uids(bench, sweep)[0], other]}
    waiting = bench.client.post(f"{API}/runs", json=after).json()["id"]
    bench.client.post(f"{API}/runs/{waiting}/cancel")
    steer(bench.database, sweep, sweeps.begin_to_delete)
    assert bench.client.post(f"{API}/runs/{waiting}/resume").json()["state"] == "waiting"
    assert bench.client.delete(f"{API}/sweeps/{sweep}").status_code == 204
    bench.succeed(other)
    assert bench.row(waiting).state == "queued"


def test_one_that_does_not_get_on_keeps_no_other_from_its_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck, other = make(bench, 1), make(bench, 1)
    for uid in (stuck, other):
        steer(bench.database, uid, sweeps.begin_to_delete)
    with bench.database.transaction() as session:
        session.execute(update(Sweep).values(deleting_at=NOW - 61))
    real = sweep_deletion.go_on

    def go_on(database: Database, settings: Settings, uid: str) -> bool:
        if uid == stuck:
            raise StateConflict("somebody holds it")
        return real(database, settings, uid)

    monkeypatch.setattr(sweep_deletion, "go_on", go_on)
    sweep_deletion.Deletions(bench.database, bench.settings).step()
    assert [one["id"] for one in bench.get("/sweeps")["items"]] == [stuck]


def test_another_process_finishes_a_deletion_that_stopped_half_way(bench: Bench) -> None:
    gone, kept = make(bench, 3), make(bench, 2)
    steer(bench.database, gone, sweeps.begin_to_delete)
    folder = bench.settings.runs_path / uids(bench, gone)[0]
    folder.mkdir(parents=True)
    deletions = sweep_deletion.Deletions(bench.database, bench.settings)
    deletions.step()
    shown = bench.get(f"/sweeps/{gone}")
    assert (shown["total"], shown["deleting"]) == (3, True)  # whoever was asked may still be at work
    with bench.database.transaction() as session:
        session.execute(update(Sweep).where(Sweep.uid == gone).values(deleting_at=NOW - 61))
    deletions.step()
    problem(bench.client.get(f"{API}/sweeps/{gone}"), 404)
    assert not folder.exists()
    shown = bench.get(f"/sweeps/{kept}")
    assert (shown["total"], shown["deleting"]) == (2, False)


def test_a_refused_deletion_changes_nothing(bench: Bench) -> None:
    sweep = make(bench, 3)
    claim = bench.claim(bench.get(f"/sweeps/{sweep}")["parents"][0]["id"])
    problem(bench.client.delete(f"{API}/sweeps/{sweep}"), 409)
    bench.finish(claim)
    other = bench.launch(policy={"kind": "run", "run": uids(bench, sweep)[1]})
    problem(bench.client.delete(f"{API}/sweeps/{sweep}"), 409)
    assert bench.get(f"/sweeps/{sweep}")["states"]["queued"] == 3
    assert bench.row(other).state == "waiting"
    with bench.database.transaction() as session:
        runs.cancel(session, runs.get(session, other))
