"""Figures: the right numbers in the right traces, and points that continue them."""

from __future__ import annotations

import csv
import io
import time
from typing import Any

import numpy as np
import pytest

from backend import statistics
from backend.figures.catalogue import FIGURES, as_json, names_of, points_after
from backend.figures.data import Cursor, EvaluationRow, RunData
from backend.routes import figures
from copg_core.config import RUN_CONFIG
from tests.backend.studio_bench import API, Bench, evaluation, metrics, problem

LEARNED = {"reward": {"kind": "run", "run": "rm"}}


def config(algorithm: str, **changes: Any) -> dict[str, Any]:
    return dict(RUN_CONFIG.validate_python({"algorithm": algorithm, **changes}).model_dump(mode="json"))


def data(algorithm: str = "copg", *, rows: Any = (), curves: Any = None, **changes: Any) -> RunData:
    names = {name for figure in FIGURES.values() for name in figure.metrics}
    return RunData(
        algorithm, config(algorithm, **changes), 1, rows, {name: ([], []) for name in names} | (curves or {})
    )


def row(step: int, n: int = 100, **values: float | None) -> EvaluationRow:
    return EvaluationRow(step, n, values)


def drawn(name: Any, run: RunData) -> dict[str, Any]:
    """Traces by their role."""
    return {trace["meta"]["role"]: trace for trace in as_json(FIGURES[name].draw(run))["data"]}


def test_mean_and_standard_error_by_hand() -> None:
    assert statistics.mean_and_stderr([1.0, 2.0, None, 3.0]) == (2.0, pytest.approx(1 / np.sqrt(3)))
    assert statistics.mean_and_stderr([5.0])[0] == 5.0
    assert np.isnan(statistics.mean_and_stderr([5.0])[1])
    assert np.isnan(statistics.mean_and_stderr([None])[0])
    assert statistics.spread(0.1, 100) == pytest.approx(1.0)


def test_reward_band_is_one_standard_error_and_gold_stands_beside() -> None:
    rows = [
        row(0, reward_mean=0.0, reward_stderr=0.1, gold_mean=2.0, gold_stderr=0.2),
        row(50, reward_mean=1.0, reward_stderr=None, gold_mean=None, gold_stderr=None),
    ]
    traces = drawn("reward", data(rows=rows, **LEARNED))
    assert list(traces) == ["reward_lower", "reward_upper", "reward", "reference", "gold_lower", "gold_upper", "gold"]
    assert traces["reward"]["y"] == [0.0, 1.0]
    assert traces["reward_lower"]["y"] == [-0.1, 1.0]
    assert traces["reward_upper"]["y"] == [0.1, 1.0]
    assert traces["reward_upper"]["fill"] == "tonexty"
    assert traces["reference"]["y"] == [0.0, 0.0]
    assert traces["gold"]["y"] == [2.0, None]
    assert traces["gold_upper"]["y"] == [2.2, None]
    assert traces["gold"]["line"]["dash"] == "dash"
    assert "n = 100 prompts" in traces["reward"]["name"]
    assert {trace["yaxis"] for trace in traces.values()} == {"y"}


@pytest.mark.parametrize(
    "gold",
    [{"gold_mean": 2.0, "gold_stderr": 1.0}, {"gold_mean": 2.0, "gold_stderr": 0.01}, {"gold_mean": 9.0, "gold_stderr": 0.1}],
)  # fmt: skip
def test_scales_that_do_not_fit_one_axis_get_two(gold: dict[str, float]) -> None:
    """Spread over prompts of the learned reward: 0.1 * sqrt(100) = 1. Ten times that, a tenth, or nine spreads away."""
    first = row(0, reward_mean=0.0, reward_stderr=0.1, **gold)
    figure = as_json(FIGURES["reward"].draw(data(rows=[first], **LEARNED)))
    assert {trace["yaxis"] for trace in figure["data"] if trace["meta"]["role"].startswith("gold")} == {"y2"}
    assert "gold units" in figure["layout"]["yaxis2"]["title"]["text"]


def test_rewards_by_kind_of_run() -> None:
    assert list(drawn("reward", data())) == ["reward_lower", "reward_upper", "reward", "reference"]  # gold is maximised
    assert list(drawn("reward", data("sft"))) == ["gold_lower", "gold_upper", "gold"]
    ordered = {"data": {"kind": "file", "path": "x"}, "reward": {"kind": "data"}}
    assert "reward" not in names_of("dpo", config("dpo", **ordered))
    assert names_of("reward_model", config("reward_model")) == ["accuracy", "loss", "gradient_norm", "throughput"]
    assert names_of("copg", config("copg"))[0] == "reward"
    assert [list(drawn("explained_contrast", data(name))) for name in ("copg", "dpo")] == [
        ["explained_contrast", "contrast_alignment"],
        ["contrast_alignment"],
    ]


def test_every_figure_of_every_algorithm_draws_empty_and_full_with_the_same_traces() -> None:
    """A page lays traces out once and appends to them, so that their number must not depend on the data."""
    rows = [row(0, reward_mean=0.1, reward_stderr=0.1, gold_mean=0.2, kl=0.0, accuracy=0.6, longer_wins=0.5)]
    curves = {name: ([1, 2], [0.5, None]) for figure in FIGURES.values() for name in figure.metrics}
    for algorithm in ("sft", "reward_model", "copg", "dpo", "ipo"):
        for name in names_of(algorithm, config(algorithm)):
            empty = as_json(FIGURES[name].draw(data(algorithm)))
            full = as_json(FIGURES[name].draw(data(algorithm, rows=rows, curves=curves)))
            assert [t["meta"] for t in empty["data"]] == [t["meta"] for t in full["data"]]
            assert all(trace["meta"]["algorithm"] == algorithm for trace in full["data"])
            assert full["layout"]["yaxis"]["title"]["text"]
            assert full["layout"]["xaxis"]["title"]["text"] == "Optimizer step"


def test_greedy_completions_are_labelled_as_no_estimate_of_kl() -> None:
    greedy = data("dpo", evaluation={"generation": {"temperature": 0}})
    assert list(drawn("kl", greedy)) == ["kl_lower", "kl_upper", "kl"]
    assert "no KL estimate" in as_json(FIGURES["kl"].draw(greedy))["layout"]["yaxis"]["title"]["text"]
    sampled = drawn("kl", data("dpo", rows=[row(0, kl=1.0, kl_k2=0.9, kl_k3=1.1)]))
    assert [sampled[role]["y"] for role in ("kl", "kl_k2", "kl_k3")] == [[1.0], [0.9], [1.1]]


def test_the_axis_of_flop_utilisation_is_there_where_a_peak_is_known() -> None:
    def shown(**curves: Any) -> list[bool]:
        figure = as_json(FIGURES["throughput"].draw(data("sft", curves=curves)))
        return [figure["layout"]["yaxis2"]["visible"], figure["data"][1]["showlegend"]]

    speed = ([1, 2], [1e3, 1e3])
    assert shown() == shown(tokens_per_second=speed, flop_utilisation=([1, 2], [0.4, 0.4])) == [True, True]
    assert shown(tokens_per_second=speed) == [False, False]
    axis = as_json(FIGURES["throughput"].draw(data("sft")))["layout"]["yaxis2"]
    assert axis["tickvals"] == [0, 0.25, 0.5, 0.75, 1], "shares have ticks of their own, not those of the left axis"


def test_metrics_and_evaluations_have_cursors_of_their_own() -> None:
    """The validation loss of step 50 arrives after the training loss of step 50, or of step 60."""
    rows = [row(0, validation_loss=2.0), row(50, validation_loss=1.0)]
    run = data("sft", rows=rows, curves={"loss": ([49, 50, 60], [3.0, 2.0, 1.0])})
    assert run.cursor == Cursor(60, 50)
    figure = FIGURES["loss"].draw(run)
    assert points_after(figure, Cursor(50, 0)) == [([60], [1.0]), ([50], [1.0])]
    assert points_after(figure, run.cursor) == [([], []), ([], [])]
    assert Cursor.parse(str(Cursor(60, -1))) == Cursor(60, -1)


def test_figure_then_points_equal_the_figure_later(bench: Bench) -> None:
    uid = bench.launch()
    claim = bench.claim(uid)
    names = [item["name"] for item in bench.get(f"/runs/{uid}/figures")["items"]]
    assert names == [
        "reward", "accuracy", "kl", "explained_contrast", "log_ratios", "loss", "gradient_norm", "length", "throughput",
    ]  # fmt: skip
    more = {name: 0.1 for figure in FIGURES.values() for name in figure.metrics if name != "loss"}
    bench.record(claim, evaluation(0), *metrics(1, 2, **more))
    before = {name: bench.get(f"/figures/{name}", run=uid) for name in names}
    bench.record(claim, *metrics(3, 4, **more), evaluation(50, reward=1.5))
    for name in names:
        points = bench.get(
            f"/figures/{name}/points", run=uid, after=before[name]["cursor"], fence=before[name]["fence"]
        )
        after = bench.get(f"/figures/{name}", run=uid)
        assert not points["reset"]
        assert points["cursor"] == after["cursor"]
        grown = before[name]["figure"]["data"]
        for trace, extra in zip(grown, points["traces"], strict=True):
            trace["x"] += extra["x"]
            trace["y"] += extra["y"]
        assert grown == after["figure"]["data"], name
        assert not after["empty"]


def test_who_asks_while_nothing_is_new_is_sent_nothing_twice_later(bench: Bench) -> None:
    uid = bench.launch()
    claim = bench.claim(uid)
    bench.record(claim, evaluation(0), *metrics(1, 2))
    held = bench.get("/figures/loss", run=uid)
    fence = {"run": uid, "fence": held["fence"]}
    assert bench.client.patch(f"{API}/runs/{uid}", json={"notes": "seen"}).is_success  # an event without a point
    still = bench.get("/figures/loss/points", after=held["cursor"], **fence)
    assert (still["cursor"], [trace["x"] for trace in still["traces"]]) == (held["cursor"], [[], []])
    bench.record(claim, evaluation(50))
    evaluated = bench.get("/figures/loss/points", after=still["cursor"], **fence)
    assert evaluated["cursor"] == "2.50"
    bench.record(claim, *metrics(3))
    [loss, _] = bench.get("/figures/loss/points", after=evaluated["cursor"], **fence)["traces"]
    assert loss["x"] == [3]


def test_a_state_that_the_caller_was_told_is_answered_from_memory_and_no_older_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = bench.launch()
    claim = bench.claim(uid)
    bench.record(claim, *metrics(1, 2))
    held = bench.get("/figures/loss", run=uid)
    bench.record(claim, *metrics(3))
    feed = bench.client.app.state.studio.feed  # type: ignore[attr-defined]
    rev = bench.row(uid).rev
    deadline = time.monotonic() + 20
    while feed.rev(uid) != rev and time.monotonic() < deadline:
        time.sleep(0.01)
    asked = {"run": uid, "after": held["cursor"], "fence": held["fence"]}
    first = bench.get("/figures/loss/points", **asked, rev=rev)
    assert first["traces"][0]["x"] == [3]

    def unasked(*_: object) -> None:
        raise AssertionError("the database was asked")

    with monkeypatch.context() as patch:
        patch.setattr(figures, "_shared", unasked)
        with monkeypatch.context() as word_for_word:
            word_for_word.setattr(Cursor, "parse", unasked)  # nor is a route looked for
            assert bench.get("/figures/loss/points", **asked, rev=rev) == first
            assert bench.get("/health")
        assert bench.get("/figures/loss/points", **asked, rev=rev) == first
        assert bench.get("/figures/loss/points", **asked, rev=rev - 1) == first
        with pytest.raises(AssertionError, match="500"):
            bench.get("/figures/loss/points", **asked)  # who does not say what it was told
    # A feed that is behind what the caller was told by another process does not answer.
    monkeypatch.setattr(feed, "rev", lambda _: rev)
    bench.record(claim, *metrics(4))
    assert bench.get("/figures/loss/points", **asked, rev=rev + 1)["traces"][0]["x"] == [3, 4]


def test_reset_on_the_first_point_and_on_another_attempt(bench: Bench) -> None:
    uid = bench.launch()
    empty = bench.get("/figures/reward", run=uid)
    assert empty["empty"]
    claim = bench.claim(uid)
    fence = {"fence": claim.fence}
    assert bench.get("/figures/reward/points", run=uid, after=empty["cursor"], **fence)["reset"] is False
    bench.record(claim, evaluation(0))
    assert bench.get("/figures/reward/points", run=uid, after=empty["cursor"], **fence)["reset"] is True
    cursor = bench.get("/figures/reward", run=uid)["cursor"]
    assert bench.get("/figures/reward/points", run=uid, after=cursor, **fence)["reset"] is False
    assert bench.get("/figures/reward/points", run=uid, after=cursor, fence=claim.fence - 1)["reset"] is True


def test_long_curves_are_thinned(bench: Bench) -> None:
    uid = bench.launch()
    bench.record(bench.claim(uid), *metrics(*range(1, 2001)))
    [loss, _] = bench.get("/figures/loss", run=uid)["figure"]["data"]
    assert len(loss["x"]) <= 600
    assert (loss["x"][0], loss["x"][-1]) == (1, 2000)


def test_csv(bench: Bench) -> None:
    uid = bench.launch()
    bench.record(bench.claim(uid), evaluation(0), evaluation(50, reward=None))
    answer = bench.client.get(f"{API}/figures/reward", params={"run": uid, "format": "csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(r["step"], r["value"]) for r in rows if r["role"] == "reward"] == [("0", "0.5"), ("50", "")]


def test_figure_that_a_run_does_not_have(bench: Bench) -> None:
    uid = bench.launch(algorithm="sft")
    problem(bench.client.get(f"{API}/figures/accuracy?run={uid}"), 404)
    problem(bench.client.get(f"{API}/figures/nothing?run={uid}"), 422, "name")
    problem(bench.client.get(f"{API}/figures/loss/points?run={uid}&after=1&fence=0"), 422, "after")
