"""Final reward against beta: what is averaged, whose error it is, what is left out."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from backend.figures.final_reward import Result, as_csv, final_reward, means
from backend.figures.sweep_results import x_field
from backend.states import RunState
from copg_core import events
from tests.backend.studio_bench import API, COPG, Bench, evaluation, problem
from tests.backend.test_sweep_routes import make, members, named


def result(x: float, reward: float, *, algorithm: str = "copg", finished: bool = True, **more: Any) -> Result:
    values: dict[str, Any] = {
        "name": f"{algorithm} {x}",
        "variant": None,
        "series": "",
        "stderr": 0.1,
        "n": 64,
        "step": 100,
    }
    return Result(algorithm=algorithm, x=x, reward=reward, finished=finished, **{**values, **more})


def test_seeds_are_averaged_and_single_runs_keep_their_error_over_prompts() -> None:
    first, second = means([result(1, 1.0), result(0.1, 1.0), result(0.1, 3.0), result(0.1, 99, finished=False)])
    assert (first.x, first.reward, first.stderr, first.error_over) == (0.1, 2.0, 1.0, "2 seeds")
    assert (second.x, second.reward, second.stderr, second.error_over) == (1, 1.0, 0.1, "64 prompts")


def test_each_algorithm_has_a_line_and_what_is_unfinished_stands_open() -> None:
    drawn = final_reward(
        [result(0.01, 1), result(1, 2), result(0.01, 1, algorithm="dpo"), result(1, 5, algorithm="dpo", finished=False)],
        "Beta", 0.5,
    )  # fmt: skip
    copg, dpo, unfinished, before = drawn.data
    assert (copg.name, list(copg.x), list(copg.error_y.array)) == (
        "CoPG ± 1 s.e., n = 64 prompts",
        [0.01, 1],
        [0.1, 0.1],
    )
    assert (list(dpo.y), unfinished.marker.symbol, list(unfinished.y)) == ([1], "circle-open", [5])
    assert list(before.y) == [0.5, 0.5]
    assert drawn.layout.xaxis.type == "log"
    assert final_reward([], "Beta", None).data == ()


def test_words_have_a_minus_and_the_csv_plain_numbers() -> None:
    lone = result(2, -0.0625, stderr=None, finished=False)
    results = [result(1, -17.0812, stderr=1.787), lone]
    done, going = final_reward(results, "Target", None).data
    assert done.customdata[0][0] == "−17.1 ± 1.8 (s.e.) over 64 prompts"
    assert going.customdata[0][0] == "copg 2<br>−0.063 at step 100, not finished"
    assert as_csv(results, "Target").isascii()
    assert "-17.0812" in as_csv(results, "Target")


def test_settings_besides_beta_and_seed_have_lines_of_their_own() -> None:
    drawn = final_reward(
        [result(1, 1, series="learning rate 1e-05"), result(1, 2, series="learning rate 1e-06")], "Beta", None
    )
    assert [trace.name for trace in drawn.data] == [
        f"CoPG learning rate {rate} ± 1 s.e., n = 64 prompts" for rate in ("1e-05", "1e-06")
    ]
    assert len({trace.line.dash for trace in drawn.data}) == 2


@pytest.mark.parametrize(
    ("xs", "title", "kind", "named"),
    [
        ((0.03, 0.06), "Beta", "log", ["0.03", "0.06"]),
        ((0.1,), "Beta", "log", ["0.1"]),
        ((0.001, 0.01, 0.011, 0.1, 0.95, 1.0), "Beta", "log", ["0.001", "", "0.011", "0.1", "", "1"]),
        ((1, 4), "Learning rate", None, None),
        ((1, 6), "Learning rate", "log", ["1", "6"]),
        ((0, 1), "Beta", None, None),
    ],
)
def test_beta_is_on_a_logarithmic_axis_with_ticks_where_it_was(xs: Any, title: str, kind: Any, named: Any) -> None:
    axis = final_reward([result(x, 1.0) for x in xs], title, None).layout.xaxis
    assert (axis.type, axis.ticktext and list(axis.ticktext)) == (kind, named)
    assert axis.tickvals is None or list(axis.tickvals) == list(xs)


@pytest.mark.parametrize(
    ("overrides", "betas", "field"),
    [
        ([{"beta": 1, "seed": 0}, {"beta": 2, "seed": 1}], {1, 2}, "beta"),
        ([{"seed": 0}, {"seed": 1}], {0.06, 0.1}, "beta"),  # each base has its own, as the best of each algorithm
        ([{"seed": 0, "steps": 1}, {"seed": 1, "steps": 2}], {1}, "steps"),
        ([{"seed": 0}, {"seed": 1}], {1}, "seed"),
        ([{"dtype": "float32"}, {"dtype": "bfloat16"}], {1}, "beta"),
        ([{}], {1}, "beta"),
        ([{}], set(), ""),
    ],
)
def test_the_axis_is_what_differs(overrides: list[dict[str, Any]], betas: set[float], field: str) -> None:
    assert x_field(overrides, betas) == field


def test_only_runs_that_differ_in_their_seed_are_seeds(bench: Bench) -> None:
    """Bases may set what no override tells, leave alone what another varies, and have values whose words are alike."""

    def drawn(body: dict[str, Any]) -> list[tuple[str, list[float], list[float]]]:
        sweep = make(bench, body)["id"]
        for number, member in enumerate(members(bench, sweep)):
            claim = bench.claim(member["run"]["id"])
            bench.record(claim, evaluation(100, reward=float(number)), events.Finished(step=100, output="/nowhere"))
            bench.finish(claim, RunState.SUCCEEDED)
        seen = bench.get("/figures/final_reward", sweep=sweep)["figure"]["data"]
        return [(one["name"], one["x"], one["y"]) for one in seen if one["meta"]["role"] == "final"]

    rates = [{"config": COPG | {"optimizer": {"learning_rate": rate}}} for rate in (1e-6, 1e-4)]
    first, second = drawn({"bases": rates, "grid": {"beta": [0.03, 0.1]}})
    assert (first[1:], second[1:]) == (([0.03, 0.1], [0.0, 1.0]), ([0.03, 0.1], [2.0, 3.0]))
    assert "learning rate 1e-06" in first[0]
    assert "n = 4 prompts" in first[0]

    found = drawn(
        {
            "bases": [
                {"config": COPG, "grid": {"optimizer.learning_rate": [1e-6, 1e-5]}},
                {"config": COPG | {"algorithm": "dpo"}},
            ]
        }
    )
    assert [len(xs) for _, xs, _ in found] == [2, 1]

    sums = [
        {
            "kind": "sum",
            "rewards": [
                {"weight": 1.0, "reward": {"kind": "gold"}},
                {"weight": weight, "reward": {"kind": "function", "name": "length", "options": {"target": 20}}},
            ],
        }
        for weight in (-0.1, -0.5)
    ]
    one, other = drawn({"config": COPG, "grid": {"reward": sums, "beta": [0.1, 1]}})
    assert one[0] != other[0]
    assert "seeds" not in one[0] + other[0]


def test_csv_has_a_line_for_each_run() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv([result(0.1, 2.5, stderr=None), result(1, 3)], "Beta"))))
    assert [(row["beta"], row["reward_mean"], row["reward_stderr"], row["finished"]) for row in rows] == [
        ("0.1", "2.5", "", "true"),
        ("1", "3", "0.1", "true"),
    ]


def test_route(bench: Bench) -> None:
    sweep = make(bench, {"config": COPG, "grid": {"beta": [0.1, 1], "seed": [0, 1]}})["id"]
    assert bench.get("/figures/final_reward", sweep=sweep)["empty"] is True
    for number, uid in enumerate(named(bench, sweep).values()):
        claim = bench.claim(uid)
        bench.record(claim, evaluation(0, reward=0.25), evaluation(100, reward=1.0 + number))
        if number < 3:
            bench.record(claim, events.Finished(step=100, output="/nowhere"))
            bench.finish(claim, RunState.SUCCEEDED)
    seen = bench.get("/figures/final_reward", sweep=sweep)
    mean, single, unfinished, before = seen["figure"]["data"]
    assert (mean["x"], mean["y"], mean["error_y"]["array"]) == ([0.1, 1], [1.5, 3.0], [0.5, 0.1])
    assert (len(single["x"]), unfinished["y"], before["y"]) == (3, [4.0], [0.25, 0.25])
    answer = bench.client.get(f"{API}/figures/final_reward", params={"sweep": sweep, "format": "csv"})
    assert answer.text.count("\n") == 5
    problem(bench.client.get(f"{API}/figures/final_reward", params={"sweep": "nobody"}), 404)


def test_runs_of_a_sweep_that_are_not_scored_alike_are_named(bench: Bench) -> None:
    length = {"kind": "function", "name": "length", "options": {"target": 20}}

    def told(*rewards: dict[str, Any]) -> bool:
        sweep = make(bench, {"config": COPG, "grid": {"reward": list(rewards), "beta": [0.1, 1]}})["id"]
        for member in members(bench, sweep):
            bench.record(bench.claim(member["run"]["id"]), evaluation(100, reward=1.0))
        seen = bench.get("/figures/final_reward", sweep=sweep)["figure"]["data"]
        return "the groups have different rewards: their values cannot be compared" in {one["name"] for one in seen}

    assert told({"kind": "gold"}, length)
    assert not told(length)
