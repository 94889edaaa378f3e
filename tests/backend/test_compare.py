"""Comparisons: what is one group, what is compared with what, and the figures of it."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
from sqlalchemy import delete, select, update

from backend.comparisons import Member, Point, compare, flat, smoothed
from backend.figures import compare as figures
from backend.figures.thinning import thinned
from backend.models import Evaluation, Run, RunEvent
from backend.states import RunState
from backend.statistics import half_width
from copg_core import events
from copg_core.wording import number
from tests.backend.studio_bench import API, Bench, evaluation, problem


def point(step: int, reward: float | None, *, gold: float | None = None, kl: float | None = 0.1) -> Point:
    return Point(step, reward, 0.1, gold, 0.2, kl, 2.0 * step, 64, device_seconds=3.0 * step)


def member(
    beta: float, seed: int = 0, *, algorithm: str = "copg", last: float = 1.0, steps: int = 3, **more: Any
) -> Member:
    settings = {"algorithm": algorithm, "beta": beta, "seed": seed, **more}
    points = [point(100 * number, last * number / (steps - 1), kl=0.5 * number) for number in range(steps)]
    return Member(f"{algorithm}{beta}{seed}", f"{algorithm} {beta} {seed}", algorithm, None, beta, RunState.SUCCEEDED, settings, points)  # fmt: skip


def test_seeds_are_one_group_with_their_own_error() -> None:
    seen = compare([member(0.1, 0, last=1.0), member(0.1, 1, last=3.0), member(1.0, 0)])
    first, second = seen.groups
    assert (first.label, len(first.members), second.label) == ("CoPG β = 0.1", 2, "CoPG β = 1")
    assert first.last is not None
    assert (first.last.reward, first.last.stderr, first.last.over) == (2.0, 1.0, "2 seeds")
    assert second.last is not None
    assert second.last.over == "64 prompts"
    assert list(seen.fields) == ["beta"]


def test_a_step_that_only_some_seeds_have_reached_is_in_no_mean() -> None:
    [group] = compare([member(0.1, 0, steps=3), member(0.1, 1, steps=2)]).groups
    assert [one.step for one in group.points] == [0, 100]


def test_what_differs_within_an_algorithm_is_in_the_label() -> None:
    seen = compare([member(0.1, rate=1e-5), member(0.1, rate=1e-6), member(0.1, algorithm="dpo", rate=1e-6)])
    assert [group.label for group in seen.groups] == [
        "CoPG β = 0.1 rate 1e-05",
        "CoPG β = 0.1 rate 1e-06",
        "DPO β = 0.1",
    ]
    assert set(seen.fields) == {"algorithm", "rate"}
    assert flat({"a": {"b": 1, "c": {}}, "d": [1]}) == {"a.b": 1, "a.c": {}, "d": [1]}


def test_curves_have_a_band_say_what_it_is_and_keep_every_seed() -> None:
    drawn = figures.reward(compare([member(0.1, 0), member(0.1, 1, last=2.0), member(1.0)]), "reward")
    roles = [trace.meta["role"] for trace in drawn.data]
    assert roles == ["seed", "seed", "band", "band", "mean", "band", "band", "mean"]
    names = [trace.name for trace in drawn.data if trace.meta["role"] == "mean"]
    assert names == ["CoPG β = 0.1 ± 1 s.e., n = 2 seeds", "CoPG β = 1 ± 1 s.e., n = 64 prompts"]
    shades = [trace.meta["colours"] for trace in drawn.data if trace.meta["role"] == "mean"]
    assert shades[0]["light"] != shades[1]["light"]
    assert shades[0]["dark"] != shades[0]["light"]


def test_of_many_groups_the_error_is_told_by_hovering() -> None:
    seen = compare([member(0.1 * number) for number in range(1, 14)])
    drawn = figures.reward(thinned(seen), "reward")
    assert {trace.meta["role"] for trace in drawn.data} == {"mean"}
    first = drawn.data[0]
    assert (first.name, list(first.customdata)) == ("CoPG β = 0.1, n = 64 prompts", [" ± 0.1 (s.e.)"] * 3)
    assert first.hovertemplate == "step %{x:,d}: %{y}%{customdata}"
    assert drawn.layout.hovermode == "closest", "one line of a label for each of many groups would cover the figure"
    assert figures.reward(compare([member(0.1)]), "reward").layout.hovermode is None
    assert {trace.meta["role"] for trace in figures.reward(seen, "reward").data} == {"band", "mean"}, "the CSV has all"


def test_the_best_of_each_algorithm_and_the_mark_on_the_axis_of_beta() -> None:
    seen = compare([member(0.1, last=1.0), member(1.0, last=2.0), member(0.1, algorithm="dpo", last=3.0)])
    best = [trace.name for trace in figures.best_of_each(seen, "reward").data if trace.meta["role"] == "mean"]
    assert best == ["CoPG β = 1, best of 2 ± 1 s.e., n = 64 prompts", "DPO β = 0.1 ± 1 s.e., n = 64 prompts"]
    marked = [trace for trace in figures.final(seen, "reward").data if trace.meta["role"] == "best"]
    assert [(list(one.x), list(one.y)) for one in marked] == [([1.0], [2.0])]


def test_time_to_a_reward_is_that_of_the_first_evaluation_which_has_it() -> None:
    seen = compare([member(0.1, last=2.0), member(1.0, last=0.5)])
    assert figures.default_target(seen, "reward") == 1.0
    drawn = figures.time_to(seen, "reward")
    [bars] = drawn.data
    assert (list(bars.y), list(bars.x)) == (["CoPG β = 0.1"], [200.0])
    assert "1 did not reach it" in drawn.layout.xaxis.title.text
    assert figures.is_empty(figures.time_to(seen, "reward", target=9.0))
    assert list(figures.time_to(seen, "reward", target=0.0).data[0].x) == [0.0, 0.0], "both begin with a reward of 0"


def test_cost_of_a_reward_is_the_device_time_of_one_seed() -> None:
    seen = compare([member(0.1, 0, last=2.0), member(0.1, 1, last=2.0), member(1.0, last=0.5)])
    drawn = figures.cost_of(seen, "reward")
    bars = drawn.data[0]
    assert (list(bars.y), list(bars.x), list(bars.text)) == (
        ["CoPG β = 0.1"],
        [300.0],
        ["300 s, step 100, n = 2 seeds"],
    )
    assert (
        drawn.layout.xaxis.title.text
        == "Device time to reward 1 (seconds)<br>of one run, without its parents<br>points: each seed by itself<br>1 did not reach it"
    )


def test_smoothing_is_drawn_over_what_was_measured() -> None:
    seen = smoothed(compare([member(0.1, 0, steps=5), member(0.1, 1, steps=5)]), "reward", 2)
    drawn = figures.reward(seen, "reward")
    by_role = {trace.meta["role"]: trace for trace in drawn.data}
    assert list(by_role["measured"].y) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert list(by_role["mean"].y) == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0]), "a straight line stays what it is"
    assert by_role["mean"].customdata[1] == " (measured 0.250 ± 0.000 (s.e.))"
    assert {"seed", "band"} <= set(by_role)
    assert by_role["reference"].name == "thick: smoothed (± 2), thin: measured"
    few = thinned(seen, most=12)
    assert (few.every, [point.smooth for point in few.groups[0].points]) == (4, [0.0, pytest.approx(1.0)])
    assert smoothed(seen, "reward", 0) is seen


def test_bands_are_one_standard_error_or_the_interval_by_student_and_say_which() -> None:
    seeds = [member(0.1, seed, last=last) for seed, last in enumerate((1.0, 2.0, 3.0))]
    seen = compare([*seeds, member(1.0, last=1.0)])
    stderr = 1 / np.sqrt(3)
    for kind, times, words in (("stderr", 1.0, " ± 1 s.e."), ("ci95", scipy.stats.t.ppf(0.975, 2), ", 95 % interval")):
        drawn = figures.reward(replace(seen, band=kind), "reward")
        means = [trace for trace in drawn.data if trace.meta["role"] == "mean"]
        assert [one.name for one in means] == [
            f"CoPG β = 0.1{words}, n = 3 seeds",
            f"CoPG β = 1{words}, n = 64 prompts",
        ]
        lower, upper = [trace for trace in drawn.data if trace.meta["role"] == "band"][:2]
        assert (lower.y[-1], upper.y[-1]) == pytest.approx((2 - times * stderr, 2 + times * stderr))
        final = figures.final(replace(seen, band=kind), "reward").data[0]
        assert final.name == f"CoPG{words}, n = 3 seeds or 64 prompts"
        assert list(final.error_y.array) == pytest.approx([times * stderr, half_width([0.1], [64], kind)[0]])
        many = figures.reward(replace(seen, band=kind, bands=False), "reward").data[-1]
        assert (
            many.customdata[-1]
            == f" ± {number(float(half_width([0.1], [64], kind)[0]), 2)} ({words[-4:] if kind == 'stderr' else '95 %'})"
        )


def test_ways_end_in_a_large_point_and_gold_needs_a_gold_reward() -> None:
    seen = compare([member(0.1), member(1.0)])
    way, end = figures.frontier(seen, "reward").data[:2]
    assert (list(way.x), way.marker.size) == ([0.0, 0.5, 1.0], 4)
    assert (list(end.x), end.marker.size, end.showlegend) == ([1.0], 11, False)
    assert figures.names_of(seen) == ["reward", "final", "frontier", "time", "cost"]
    assert figures.is_empty(figures.gold(seen, "gold"))
    golden = [point(0, 0.0, gold=0.0), point(100, 1.0, gold=1.0)]
    for kind, has in (("gold", False), ("run", True)):
        made = replace(member(0.1, **{"reward.kind": kind}), points=golden)
        assert compare([made]).has_gold is has


def test_of_very_many_evaluations_some_are_drawn_and_it_is_said() -> None:
    seen = compare([member(0.1, steps=1001), member(0.1, 1, steps=1002), member(1.0, steps=40)])
    few = thinned(seen, most=800)
    assert few.every == 8
    first, second = few.groups
    assert [one.step for one in first.points] == [*range(0, 100_000, 800), 100_000]
    assert [one.step for one in first.members[1].points][-2:] == [100_000, 100_100]
    assert [one.step for one in second.points] == [0, 800, 1600, 2400, 3200, 3900]
    assert first.last == seen.groups[0].last
    assert thinned(seen) is seen
    drawn = figures.reward(few, "reward")
    assert drawn.layout.xaxis.title.text == "Optimizer step (1 evaluation of 8 is drawn)"
    assert [trace.mode for trace in drawn.data if trace.meta["role"] == "mean"] == ["lines", "lines+markers"]
    assert "1 evaluation of 8" in figures.frontier(few, "reward").layout.xaxis.title.text


def trained(bench: Bench, final: float, **config: Any) -> str:
    uid = bench.launch(**config)
    claim = bench.claim(uid)
    bench.record(claim, evaluation(0, reward=0.25, n=8), evaluation(100, reward=final, n=8))
    bench.record(claim, events.Finished(step=100, output="/nowhere"))
    bench.finish(claim)
    return uid


def test_the_table_compares_the_same_prompts(bench: Bench) -> None:
    runs = [trained(bench, 1.0, beta=0.1, seed=0), trained(bench, 2.0, beta=0.1, seed=1)]
    runs += [trained(bench, 3.0, beta=1.0, seed=seed) for seed in (0, 1)]
    seen = bench.get("/compare", run=runs)
    assert (seen["baseline"], seen["baselines"][0]["label"]) == ("reference", "Reference (step 0)")
    first, second = seen["groups"]
    assert (first["mean"], first["error_over"], len(first["runs"])) == (1.5, "2 seeds", 2)
    assert (first["difference"]["n"], first["difference"]["mean"], first["difference"]["wins"]) == (8, 1.25, 8)
    assert first["difference"]["p_sign"] == pytest.approx(2 * 2 * 0.5**8)  # two comparisons
    assert second["is_best"] is True
    assert "bootstrap" in seen["method"]
    assert any("seeds" in note for note in seen["notes"])
    beside = bench.get("/compare", run=runs, baseline=second["id"])
    assert [group["difference"] and group["difference"]["mean"] for group in beside["groups"]] == [-1.5, None]


def test_prompts_that_only_one_side_has_are_left_out_and_it_is_said(bench: Bench) -> None:
    short = bench.launch(beta=0.5)
    claim = bench.claim(short)
    bench.record(claim, evaluation(100, reward=1.0, n=3))
    seen = bench.get("/compare", run=[trained(bench, 2.0, beta=0.1), short])
    tests = {group["beta"]: group["difference"] for group in seen["groups"]}
    assert tests[0.5]["n"] == 3
    assert any("same prompts" in note for note in seen["notes"])
    assert seen["active"] is True


@pytest.mark.parametrize("name", figures.TITLES)
def test_every_figure_is_served(bench: Bench, name: str) -> None:
    learned = {"reward": {"kind": "function", "name": "length", "options": {"target": 20}}} if name == "gold" else {}
    runs = [trained(bench, 1.0, beta=0.1, **learned), trained(bench, 3.0, beta=1.0, **learned)]
    drawn = bench.get(f"/compare/figures/{name}", run=runs)
    assert drawn["empty"] is False
    answer = bench.client.get(f"{API}/compare/figures/{name}", params={"run": runs, "format": "csv"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert {"role", "series", "x", "y", *figures.COLUMNS} == set(rows[0])
    assert all(row["x"] for row in rows)


def test_smoothing_travels_with_the_question(bench: Bench) -> None:
    runs = [trained(bench, 1.0, beta=0.1), trained(bench, 3.0, beta=1.0)]
    plain = bench.get("/compare/figures/reward", run=runs)
    held = bench.get("/compare/figures/reward", run=runs, smoothing=5)
    assert [trace["meta"]["role"] for trace in held["figure"]["data"]][-1] == "reference"
    [mean] = [one for one in held["figure"]["data"] if one["meta"]["role"] == "mean" and "β = 1" in one["name"]]
    assert mean["y"] == pytest.approx([0.25, 3.0])
    ends = bench.get("/compare/figures/reward/points", run=runs, smoothing=5, after=held["cursor"])
    assert (ends["reset"], ends["cursor"]) == (False, held["cursor"])
    assert bench.get("/compare/figures/reward/points", run=runs, after=held["cursor"])["reset"] is True
    assert bench.get("/compare/figures/final", run=runs, smoothing=5) == bench.get("/compare/figures/final", run=runs)
    assert plain == bench.get("/compare/figures/reward", run=runs, smoothing=0)
    for wrong in (-1, 0.5, 101, "much"):
        problem(bench.client.get(f"{API}/compare/figures/reward", params={"run": runs, "smoothing": wrong}), 422)


def test_bands_travel_with_the_question(bench: Bench) -> None:
    runs = [trained(bench, reward, beta=0.1, seed=seed) for seed, reward in enumerate((1.0, 3.0))]
    plain = bench.get("/compare/figures/reward", run=runs)
    held = bench.get("/compare/figures/reward", run=runs, band="ci95")
    [mean] = [one["name"] for one in held["figure"]["data"] if one["meta"]["role"] == "mean"]
    assert mean.endswith(", 95 % interval, n = 2 seeds")
    assert bench.get("/compare/figures/reward/points", run=runs, band="ci95", after=held["cursor"])["reset"] is False
    assert bench.get("/compare/figures/reward/points", run=runs, after=held["cursor"])["reset"] is True
    assert plain == bench.get("/compare/figures/reward", run=runs, band="stderr")
    problem(bench.client.get(f"{API}/compare/figures/reward", params={"run": runs, "band": "90"}), 422)


def test_a_smoothed_curve_goes_on_where_its_points_are_final(bench: Bench) -> None:
    uid = bench.launch(beta=0.1)
    claim = bench.claim(uid)
    steps = range(0, 4000, 100)
    bench.record(claim, *(evaluation(step, reward=(step // 100) % 7, n=8) for step in steps))
    held = bench.get("/compare/figures/reward", run=[uid], smoothing=4)
    bench.record(claim, *(evaluation(step, reward=3.0, n=8) for step in (4000, 4100)))
    ends = bench.get("/compare/figures/reward/points", run=[uid], smoothing=4, after=held["cursor"])
    whole = bench.get("/compare/figures/reward", run=[uid], smoothing=4)
    assert (ends["reset"], ends["cursor"]) == (False, whole["cursor"])
    fresh = [len(end["arrays"].get("x", ())) for end in ends["traces"]]
    assert max(fresh) == 2 + 6
    for trace, end in zip(held["figure"]["data"], ends["traces"], strict=True):
        for key, array in end["arrays"].items():
            trace[key] = trace[key][: end["start"]] + array
    assert held["figure"] == whole["figure"]


def test_cost_counts_all_devices_and_attempts_but_no_waiting(bench: Bench) -> None:
    uid = bench.launch(beta=0.1)
    claim = bench.claim(uid)
    bench.record(claim, evaluation(0, reward=0.25, n=8), evaluation(100, reward=1.0, n=8))
    with bench.database.transaction() as session:
        run = session.scalars(select(Run).where(Run.uid == uid)).one()
        run.gpus = 4
        session.execute(delete(RunEvent).where(RunEvent.run_id == run.id))
        moves = [
            ("queued", 0.0, None), ("running", 100.0, None),  # from before the history knew devices: what it asks for now
            ("queued", 110.0, None), ("running", 150.0, 2), ("cancelling", 160.0, None),
        ]  # fmt: skip
        session.add_all(
            RunEvent(run_id=run.id, fence=1, origin=None, target=state, at=at, devices=devices)
            for state, at, devices in moves
        )
        for step, at in ((0, 155.0), (100, 170.0)):
            session.execute(
                update(Evaluation).where(Evaluation.run_id == run.id, Evaluation.step == step).values(recorded_at=at)
            )
    figure = bench.get("/compare/figures/cost", run=[uid])["figure"]
    assert figure["data"][0]["x"] == [4 * 10 + 2 * (10 + 10)]
    assert bench.get("/compare/figures/time", run=[uid])["figure"]["data"][0]["x"] == [15.0]


def test_a_run_that_gets_a_deleted_ones_number_is_not_taken_for_it(bench: Bench) -> None:
    first = bench.launch(beta=0.1)
    assert bench.get("/compare", run=[first])["groups"][0]["beta"] == 0.1
    assert bench.client.delete(f"{API}/runs/{first}").status_code == 204
    second = bench.launch(beta=1.0)
    assert bench.get("/compare", run=[second])["groups"][0]["beta"] == 1.0


@pytest.mark.parametrize("name", figures.TITLES)
def test_whoever_has_a_figure_is_told_how_it_goes_on(bench: Bench, name: str) -> None:
    uid = bench.launch(beta=0.1)
    runs = [uid, trained(bench, 3.0, beta=1.0)]
    claim = bench.claim(uid)
    bench.record(claim, *(evaluation(step, reward=0.01 * step, n=8) for step in range(0, 400, 100)))
    held = bench.get(f"/compare/figures/{name}", run=runs)
    bench.record(claim, evaluation(400, reward=4.0, n=8))
    whole = bench.get(f"/compare/figures/{name}", run=runs)
    ends = bench.get(f"/compare/figures/{name}/points", run=runs, after=held["cursor"])
    assert ends["cursor"] == whole["cursor"]
    if name in ("reward", "frontier"):
        assert ends["reset"] is False
        assert (
            sum(len(one["arrays"]["x"]) for one in ends["traces"]) < 20
        )  # ends, their bars and what joins them, new each time
        for trace, end in zip(held["figure"]["data"], ends["traces"], strict=True):
            for key, array in end["arrays"].items():
                trace[key] = trace[key][: end["start"]] + array
        assert held["figure"] == whole["figure"]
    again = bench.get(f"/compare/figures/{name}/points", run=runs, after=whole["cursor"])
    assert (again["reset"], again["cursor"]) == (False, whole["cursor"])
    assert bench.get(f"/compare/figures/{name}/points", run=runs, after="0" * 16)["reset"] is True
    refused = bench.client.get(f"{API}/compare/figures/{name}/points", params={"run": runs, "after": "what"})
    problem(refused, 422, "after")


def test_nothing_yet_and_wrong_wishes(bench: Bench) -> None:
    run = bench.launch()
    seen = bench.get("/compare", run=[run])
    assert (seen["groups"][0]["mean"], seen["groups"][0]["difference"], seen["target"]) == (None, None, None)
    assert bench.get("/compare/figures/reward", run=[run])["empty"] is True
    problem(bench.client.get(f"{API}/compare"), 422, "run")
    problem(bench.client.get(f"{API}/compare", params={"run": ["nobody"]}), 404)
    problem(bench.client.get(f"{API}/compare", params={"run": [str(number) for number in range(101)]}), 422, "run")
