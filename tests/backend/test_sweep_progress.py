"""What a sweep costs, how long it still takes, and its early stop at work in the reconcile loop, on both databases."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from sqlalchemy import select, update

from backend import nodes, occupancy, sweep_watch
from backend.models import Run, RunEvent
from backend.models_sweeps import Sweep, SweepMember
from backend.states import RunState
from backend.sweep_remaining import Pace, remaining
from copg_core import events
from tests.backend.studio_bench import API, COPG, Bench
from tests.backend.test_sweep_routes import make, named, post

RULE = {"after": 0.25, "evaluations": 1}
STEPS = 100


def scored(step: int, reward: float, *, n: int = 64) -> events.Evaluation:
    """An evaluation whose prompts earn different rewards with this mean."""
    samples = tuple(
        events.Sample(
            prompt_index=index, prompt=f"post {index}", completion="c", reward=reward + (index % 4 - 1.5) / 2, length=8,
            finished=True,
        )
        for index in range(n)
    )  # fmt: skip
    return events.Evaluation(step=step, n=n, reward_mean=reward, reward_stderr=0.1, samples=samples)


def begin(bench: Bench, uid: str, *evaluations: events.Evaluation) -> Any:
    """A worker takes the run and reports the evaluations."""
    claim = bench.claim(uid)
    bench.record(claim, events.Started(step=0, total_steps=STEPS), *evaluations)
    return claim


def two(bench: Bench, rule: dict[str, Any] | None = RULE, **config: Any) -> tuple[str, str, str]:
    """A sweep of two betas, and the ids of its runs."""
    body = {"config": {**COPG, "evaluation": {"every": 25}, **config}, "grid": {"beta": [0.1, 1]}, "early_stop": rule}
    sweep = make(bench, body)["id"]
    first, second = named(bench, sweep).values()
    return sweep, first, second


def look(bench: Bench, uid: str) -> bool:
    """Have the sweeps looked at, which the application's own loop may do at the same moment; whether the run is stopped."""
    sweep_watch.look(bench.database)
    return bench.row(uid).state == RunState.CANCELLING


def test_a_hopeless_run_is_cancelled_and_says_why(bench: Bench) -> None:
    sweep, good, bad = two(bench)
    begin(bench, good, scored(25, 2.0), scored(50, 2.0))
    claim = begin(bench, bad, scored(25, -3.0))
    assert look(bench, bad)
    assert sweep_watch.look(bench.database) == 0
    run = bench.get(f"/runs/{bad}")
    assert run["state"] == "cancelling"
    reason = run["stopped_early"]["reason"]
    assert reason.startswith("stopped early at step 25: reward −3 below the best (copg β=0.1, 2) by 5.000 ± 0.000")
    assert (run["events"][-1]["reason"], run["events"][-1]["actor"]) == (reason, "sweep")
    assert run["stopped_early"]["evidence"]["rival"] == good
    bench.finish(claim, RunState.CANCELLED)
    assert bench.get(f"/runs/{good}")["state"] == "running"
    seen = bench.get(f"/sweeps/{sweep}")
    assert (seen["stopped_early"], seen["states"]["cancelled"]) == (1, 1)
    [_, member] = bench.get(f"/sweeps/{sweep}/members")["items"]
    assert member["stopped_early"]["reason"] == reason

    answer = post(bench, f"/{sweep}/resume").json()
    assert (answer["changed"], [one["id"] for one in answer["skipped"]]) == (0, [bad])
    assert post(bench, f"/{sweep}/resume?stopped_early=true").json()["changed"] == 1
    claim = bench.claim(bad)
    bench.record(claim, scored(25, -3.0), scored(50, -9.0))
    assert not look(bench, bad)  # a person wants it: it is left alone
    run = bench.get(f"/runs/{bad}")
    assert (run["state"], run["stopped_early"]["resumed"]) == ("running", True)
    assert bench.get(f"/sweeps/{sweep}")["stopped_early"] == 0


def test_the_loop_stops_it_by_itself(bench: Bench) -> None:
    _, good, bad = two(bench)
    begin(bench, good, scored(25, 2.0))
    begin(bench, bad, scored(25, -3.0))
    deadline = time.monotonic() + 20
    while bench.row(bad).state != RunState.CANCELLING:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("why", ["no rule", "rival failed", "too early", "last step", "not behind", "other algorithm"])
def test_a_run_is_left_alone_where(bench: Bench, why: str) -> None:
    rule = None if why == "no rule" else {**RULE, "after": 0.5} if why == "too early" else RULE
    sweep, good, bad = two(bench, rule)
    if why == "other algorithm":
        with bench.database.transaction() as session:
            session.execute(update(Run).where(Run.uid == good).values(algorithm="dpo"))
    step = STEPS if why == "last step" else 25
    claim = begin(bench, good, scored(step, 2.0))
    if why == "rival failed":
        bench.finish(claim, RunState.FAILED, error="diverged")
    begin(bench, bad, scored(step, 1.9 if why == "not behind" else -3.0))
    assert not look(bench, bad)
    if why == "other algorithm":
        bench.client.patch(f"{API}/sweeps/{sweep}", json={"early_stop": {**RULE, "against": "sweep"}})
        with bench.database.transaction() as session:
            session.execute(update(SweepMember).values(judged_step=None))
        assert look(bench, bad)


def test_each_evaluation_is_looked_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    _, good, bad = two(bench)
    begin(bench, good, scored(25, 1.0))
    claim = begin(bench, bad, scored(25, 1.0))
    assert not look(bench, bad)
    here, verdict = threading.get_ident(), sweep_watch._verdict

    def again(*of: Any) -> Any:
        assert threading.get_ident() != here, "looked again"  # the application's own loop may be at its first look
        return verdict(*of)

    monkeypatch.setattr(sweep_watch, "_verdict", again)
    assert not look(bench, bad)
    monkeypatch.undo()
    bench.record(claim, scored(50, -5.0))  # the rival is at 25 still, where both are equal
    assert not look(bench, bad)


def test_what_was_tested_before_an_extension_is_spent(bench: Bench) -> None:
    sweep, good, same = two(bench)  # looks at 25, 50 and 75
    rival = begin(bench, good, scored(25, 1.0))
    claim = begin(bench, same, scored(25, 1.0))

    def spent() -> float:
        with bench.database.snapshot() as session:
            return session.scalars(select(Sweep.alpha_spent)).one()

    assert not look(bench, same)
    level = 0.75 * 0.05 / 6  # two runs with a rival each, three looks
    assert spent() == pytest.approx(2 * level)
    assert post(bench, f"/{sweep}/extend", {"grid": {"beta": [10]}}).json()["changed"] == 1
    bench.record(rival, scored(50, 1.0))
    bench.record(claim, scored(50, -9.0))
    assert look(bench, same)
    evidence = bench.get(f"/runs/{same}")["stopped_early"]["evidence"]
    to_come = 2 * (2 + 2 + 3)  # rivals, times looks to come of the three
    assert evidence["level"] == pytest.approx(0.75 * (0.05 - 2 * level) / to_come)
    assert spent() == pytest.approx(2 * level + 4 * evidence["level"])
    bench.record(rival, scored(STEPS, 1.0))
    sweep_watch.look(bench.database)
    assert spent() == pytest.approx(2 * level + 4 * evidence["level"]), "the last evaluation is no look"


def test_held_seconds_are_those_of_all_attempts_and_of_now(bench: Bench) -> None:
    uid, other = bench.launch(), bench.launch()
    claim = bench.claim(uid)
    bench.finish(claim, RunState.QUEUED)
    claim = bench.claim(uid)
    run = bench.row(uid).id
    with bench.database.transaction() as session:
        rows = session.scalars(select(RunEvent).where(RunEvent.run_id == run).order_by(RunEvent.id)).all()
        for row, moment in zip(rows, (900.0, 1000.0, 1010.5, None), strict=True):
            row.at = moment if moment is not None else row.at - 7.0

    def held() -> dict[int, float]:
        with bench.database.snapshot() as session:
            return {one: found.seconds for one, found in occupancy.held_by(session, select(Run.id)).items()}

    first = held()
    assert set(first) == {run}
    assert 10.5 + 7.0 <= first[run] < 10.5 + 7.0 + 60
    deadline = time.monotonic() + 20
    while held()[run] <= first[run]:  # it is at work
        assert time.monotonic() < deadline
    bench.client.post(f"{API}/runs/{uid}/cancel")
    bench.finish(claim, RunState.CANCELLED)
    assert held() == held()
    assert bench.row(other).id not in held()


def test_cost_and_remaining_time_of_a_sweep(bench: Bench) -> None:
    sweep, first, second = two(bench, None)
    seen = bench.get(f"/sweeps/{sweep}")
    assert (seen["device_seconds"], seen["remaining"]) == (
        0,
        {"seconds": None, "reason": "no living worker has room for it"},
    )
    with bench.database.transaction() as session:
        nodes.register(session, "a", host="h", pid=1, queue="default", slots=2, cpu_slots=2, version="1", devices=[])
    assert "two steps" in bench.get(f"/sweeps/{sweep}")["remaining"]["reason"]
    bench.client.post(f"{API}/queue/pause")
    assert bench.get(f"/sweeps/{sweep}")["remaining"]["reason"] == "the queue is paused"
    bench.client.post(f"{API}/queue/resume")
    claim = begin(bench, first)
    bench.record(claim, events.Metrics(step=50, values={"loss": 1.0}))
    seen = bench.get(f"/sweeps/{sweep}")
    assert seen["device_seconds"] > 0
    assert seen["remaining"]["seconds"] is not None
    assert (seen["steps_done"], seen["steps_total"], seen["progress"]) == (50, 200, 0.25)
    bench.client.post(f"{API}/runs/{second}/cancel")
    seen = bench.get(f"/sweeps/{sweep}")
    assert (seen["steps_total"], seen["progress"], seen["active"]) == (100, 0.75, True)


def pace(state: RunState, step: int = 0, **more: Any) -> Pace:
    values: dict[str, Any] = {"algorithm": "copg", "parent": False, "total_steps": 100, "remaining": None, "held": 0.0}
    return Pace(state=state, step=step, **{**values, **more})


QUEUED, DONE = pace(RunState.QUEUED), pace(RunState.SUCCEEDED, 100, held=50.0)
SFT = {"algorithm": "sft", "parent": True}


@pytest.mark.parametrize(
    ("runs", "slots", "seconds"),
    [
        ([DONE], 0, 0),
        ([DONE, QUEUED, QUEUED, QUEUED], 1, 150),
        ([DONE, QUEUED, QUEUED, QUEUED], 2, 100),
        ([DONE, QUEUED, pace(RunState.RUNNING, 90, remaining=5.0)], 2, 50),
        ([DONE, QUEUED, pace(RunState.RUNNING, 90, remaining=5.0)], 1, 55),
        ([DONE, pace(RunState.RUNNING, 20)], 1, 40),  # its own attempt is too young: the pace of the others
        ([DONE, pace(RunState.QUEUED, total_steps=None)], 1, 50),  # as many steps as its like
        ([DONE, pace(RunState.QUEUED, algorithm="dpo")], 1, 50),
        ([pace(RunState.RUNNING, 50, remaining=10.0, **SFT), DONE, pace(RunState.WAITING)], 1, 60),
    ],
)
def test_remaining_time(runs: list[Pace], slots: int, seconds: float) -> None:
    assert remaining(runs, slots).seconds == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("runs", "slots", "reason"),
    [
        ([QUEUED], 0, "no living worker has room for it"),
        ([QUEUED], 1, "no copg run of it has made two steps yet"),
        ([pace(RunState.QUEUED, **SFT), DONE], 1, "no sft run"),
        ([pace(RunState.RUNNING, 50, held=5.0, total_steps=None)], 1, "how many steps"),
    ],
)
def test_remaining_time_is_unknown_with_a_reason(runs: list[Pace], slots: int, reason: str) -> None:
    found = remaining(runs, slots)
    assert found.seconds is None
    assert reason in str(found.reason)
