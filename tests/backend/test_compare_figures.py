"""What the figures of a comparison show to whoever looks: which curve is which, what n is, what errors are."""

from __future__ import annotations

import csv
import io
import itertools
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
import scipy.stats

from backend.comparisons import compare
from backend.figure_images import image
from backend.figures import compare as figures
from backend.figures.style import COLOURS, DASHES, sequential
from tests.backend.studio_bench import API, Bench, problem
from tests.backend.test_compare import member, trained
from tests.backend.test_figure_images import browser

__all__ = ["browser"]

CURVES = {"reward": "mean", "frontier": "way", "gold": "way"}


def with_gold(group: Any) -> Any:
    return replace(group, points=[point._replace(gold=1.0) for point in group.points])


def strokes(name: str, seen: Any) -> list[tuple[str, str]]:
    """Colour and dash of each curve, in the order of the legend."""
    seen = replace(seen, groups=[with_gold(group) for group in seen.groups])
    drawn = figures.DRAW[name](seen, "reward")  # type: ignore[index]
    return [(one.line.color, one.line.dash) for one in drawn.data if one.meta["role"] == CURVES[name]]


@pytest.mark.parametrize("name", CURVES)
def test_no_two_curves_look_the_same(name: str) -> None:
    """Colour is beta and the dash tells apart what shares it; of several algorithms colour is the algorithm."""
    grid = [member(beta, rate=rate) for beta in (0.03, 0.1, 0.3) for rate in (1e-6, 3e-6, 9e-6)]
    drawn = strokes(name, compare(grid))
    assert len(set(drawn)) == 9
    by_colour = [[dash for _, dash in some] for _, some in itertools.groupby(drawn, key=lambda stroke: stroke[0])]
    assert by_colour == [list(DASHES[:3])] * 3
    several = strokes(name, compare([*grid[:6], *(member(beta, algorithm="dpo") for beta in (0.1, 0.3))]))
    assert several == [(COLOURS["copg"], dash) for dash in DASHES] + [(COLOURS["dpo"], dash) for dash in DASHES[:2]]


ALGORITHMS, BETAS = ("copg", "dpo", "ipo"), (0.01, 0.03, 0.06, 0.1, 0.3, 1.0)


def test_the_best_of_very_many_groups_keep_their_bands() -> None:
    """Three curves of eighteen groups: what is drawn decides whether there is room for bands, not what it was chosen from."""
    seen = compare([member(beta, algorithm=name, last=beta) for name in ALGORITHMS for beta in BETAS])
    drawn = figures.draw(seen, figures.Look("best"))
    assert [one.meta["role"] for one in drawn.data] == ["band", "band", "mean"] * 3
    assert drawn.data[2].name == "CoPG β = 1, best of 6 ± 1 s.e., n = 64 prompts"
    many = figures.draw(seen, figures.Look("reward"))
    assert {one.meta["role"] for one in many.data} == {"mean"}
    assert len(figures.draw(seen, figures.Look("reward"), whole=True).data) == 3 * 18


@pytest.mark.parametrize("name", ["time", "cost"])
def test_a_figure_of_bars_is_as_high_as_they_need_and_names_them_above(name: Any) -> None:
    few, many = (
        figures.draw(compare([member(beta, algorithm=one) for one in some for beta in BETAS]), figures.Look(name))
        for some in (ALGORITHMS[:1], ALGORITHMS)
    )
    assert many.layout.height - few.layout.height == 12 * 38
    assert [one.text.split(":")[0] for one in few.layout.annotations] == [f"CoPG β = {beta:g}" for beta in BETAS]
    assert {one.x for one in few.layout.annotations} == {0}
    assert many.layout.yaxis.showticklabels is False
    [wordy] = figures.draw(compare([member(0.1), member(0.1, rate="a" * 30)]), figures.Look(name)).layout.annotations[
        1:
    ]
    assert wordy.text.split("<br>")[1].endswith(" s, step 100, n = 1 seed")


@pytest.mark.usefixtures("browser")
@pytest.mark.parametrize(("name", "grows"), [("time", False), ("reward", True)])
def test_a_picture_has_the_height_of_its_bars_and_of_its_legend(name: Any, grows: bool) -> None:
    heights = []
    for some in (ALGORITHMS[:1], ALGORITHMS):
        drawn = figures.draw(
            compare([member(beta, algorithm=one) for one in some for beta in BETAS]), figures.Look(name)
        )
        heights.append(int(ElementTree.fromstring(image(drawn, "svg")).get("height", "")))
        assert grows or heights[-1] == drawn.layout.height
    assert heights[1] > heights[0]


def rows_of(name: Any, seen: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(figures.as_csv(figures.draw(seen, figures.Look(name), whole=True)))))


def test_the_csv_has_what_is_drawn_and_of_which_step() -> None:
    seeds = [member(0.1, seed, last=last) for seed, last in enumerate((1.0, 3.0))]
    seen = compare([*seeds, member(1.0, last=2.0)])
    told = [[row[key] for key in ("x", "y", "step", "error", "n")] for row in rows_of("final", seen)]
    assert told[:2] == [["0.1", "2.0", "200", "1.0", "2 seeds"], ["1.0", "2.0", "200", "0.1", "64 prompts"]]
    assert told[2] == ["0.1", "1.0", "200", "0.1", "64 prompts"], "a seed beside its mean"
    assert [row["step"] for row in rows_of("frontier", seen)][:4] == ["0", "100", "200", "200"]
    for name in ("time", "cost"):
        assert [(row["step"], row["n"]) for row in rows_of(name, seen)] == [
            ("100", "2 seeds"),
            ("100", "1 seed"),
            ("", ""),
            ("", ""),
        ]
    assert {row["step"] for row in rows_of("reward", seen)} == {""}, "its x is the step"


def test_n_stands_in_every_legend_and_errors_are_drawn_and_named() -> None:
    seeds = [member(0.1, seed, last=last) for seed, last in enumerate((1.0, 3.0))]
    points = [one._replace(gold=one.reward, gold_stderr=0.2) for one in member(1.0, last=2.0).points]
    seen = compare([*seeds, replace(member(1.0), points=points)])
    for name, words, across in (("frontier", " ± 1 s.e.", 0), ("gold", " ± 1 s.e.", 1)):
        drawn = figures.draw(seen, figures.Look(name))  # type: ignore[arg-type]
        legend = [one.name for one in drawn.data if one.showlegend is not False]
        assert [one.split(", ")[1] for one in legend if "β = 1" in one] == ["n = 64 prompts"]
        assert f"large: the last evaluation{words}" in legend
        bars = [one for one in drawn.data if one.meta["role"] == "error" and "β = 1" in one.name]
        assert len(bars) == 1 + across
        assert list(bars[-1].y) == pytest.approx([1.9, 2.1] if name == "frontier" else [1.8, 2.2])
    wide = figures.draw(seen, figures.Look("frontier", band="ci95"))
    assert "large: the last evaluation, 95 % interval" in [one.name for one in wide.data]
    [up] = [one for one in wide.data if one.meta["role"] == "error" and "β = 1" in one.name]
    assert (up.y[1] - up.y[0]) / 2 == pytest.approx(0.1 * scipy.stats.t.ppf(0.975, 63))


def test_the_end_of_a_way_has_the_errors_of_kl_and_reward() -> None:
    seeds = []
    for seed, kl in enumerate((1.0, 3.0)):
        made = member(0.1, seed, last=1.0 + 2 * seed)
        seeds.append(replace(made, points=[one._replace(kl=kl) for one in made.points]))
    drawn = figures.draw(compare(seeds), figures.Look("frontier"))
    across, up = [one for one in drawn.data if one.meta["role"] == "error"]
    assert (list(across.x), list(across.y)) == ([1.0, 3.0], [2.0, 2.0])
    assert (list(up.x), list(up.y)) == ([2.0, 2.0], [1.0, 3.0])
    [end] = [one for one in drawn.data if one.meta["role"] == "way_end"]
    assert list(end.customdata[0]) == [200, " ± 1 (s.e.)", " ± 1 (s.e.)"]
    lines = [row for row in csv.DictReader(io.StringIO(figures.as_csv(drawn))) if row["role"] == "error"]
    assert [float(row["x"]) for row in lines] == [1.0, 3.0, 2.0, 2.0]


def test_a_bar_has_its_n_and_each_seed_by_itself() -> None:
    seen = compare([*(member(0.1, seed, last=last) for seed, last in enumerate((1.0, 3.0))), member(1.0, last=2.0)])
    bars, dots = figures.draw(seen, figures.Look("time", target=1.5)).data
    assert list(bars.text) == ["400 s, step 200, n = 2 seeds, 1 reach it", "400 s, step 200, n = 1 seed"]
    assert (list(dots.x), list(dots.y)) == ([200.0], ["CoPG β = 0.1"]), "the other seed stays below it"


def test_ends_that_no_other_beats_are_joined() -> None:
    runs = []
    for beta, last, kl in ((0.03, 3.0, 1.0), (0.1, 2.5, 0.7), (0.3, 1.0, 0.8), (1.0, 1.5, 0.2)):
        made = member(beta, last=last)
        runs.append(replace(made, points=[one._replace(kl=kl * one.step / 200) for one in made.points]))
    front = figures.draw(compare(runs), figures.Look("frontier")).data[-1]
    assert (list(front.x), list(front.y)) == ([0.2, 0.7, 1.0], [1.5, 2.5, 3.0]), (
        "0.3 has less reward than 0.1 at more KL"
    )
    assert front.name == "ringed: no other end has as much reward at as little KL"
    alone = figures.draw(compare(runs[:1]), figures.Look("frontier"))
    assert "reference_front" not in {one.meta["role"] for one in alone.data}


@pytest.mark.parametrize("name", ["reward", "best", "final", "frontier", "gold", "time", "cost"])
def test_groups_with_different_rewards_on_one_axis_are_named(name: Any) -> None:
    """As the table does, which tests none of them against another."""

    def warns(look: figures.Look, *rewards: str) -> bool:
        runs = [
            replace(member(beta, algorithm=which), yardstick={"reward": {"kind": reward}})
            for beta, which, reward in zip((0.1, 1.0), ("copg", "dpo"), rewards, strict=True)
        ]
        drawn = figures.draw(compare(runs), look)
        below = str(drawn.layout.xaxis.title.text).replace(":<br>", ": ")
        told = "the groups have different rewards: their values cannot be compared"
        return told in below or told in [one.name for one in drawn.data]

    assert warns(figures.Look(name), "rouge", "length")
    assert not warns(figures.Look(name), "rouge", "rouge")
    assert warns(figures.Look(name, "gold"), "rouge", "length") == (name == "gold"), (
        "the gold reward is that of the data"
    )
    assert not warns(figures.Look(name, algorithm="copg"), "rouge", "length")


def test_each_algorithm_has_its_own_figure_of_betas() -> None:
    seen = compare([member(beta, algorithm=name) for name in ALGORITHMS for beta in BETAS])
    panels = figures.panels_of(seen)
    assert [(one.title, one.algorithm) for one in panels[:4]] == [
        ("Reward against step, CoPG", "copg"),
        ("Reward against step, DPO", "dpo"),
        ("Reward against step, IPO", "ipo"),
        ("The best of each algorithm", None),
    ]
    for one in panels[:3]:
        drawn = figures.draw(seen, figures.Look(one.name, algorithm=one.algorithm))
        means = [trace for trace in drawn.data if trace.meta["role"] == "mean"]
        assert [trace.meta["algorithm"] for trace in means] == [one.algorithm] * 6
        assert [trace.meta["colours"] for trace in means] == [sequential(place / 5) for place in range(6)]
        assert sum(trace.meta["role"] == "band" for trace in drawn.data) == 12
    one_each = compare([member(0.1, algorithm=name) for name in ALGORITHMS])
    assert [panel.algorithm for panel in figures.panels_of(one_each) if panel.name == "reward"] == [None]
    assert [panel.algorithm for panel in figures.panels_of(compare([member(0.1), member(1.0)]))] == [None] * 5


def test_an_algorithms_figure_is_served_and_goes_on(bench: Bench) -> None:
    runs = [
        trained(bench, 1.0, beta=0.1),
        trained(bench, 2.0, beta=1.0),
        trained(bench, 2.0, algorithm="dpo", beta=0.1),
    ]
    told = [(one["name"], one["algorithm"]) for one in bench.get("/compare", run=runs)["figures"]]
    assert told[:2] == [("reward", "copg"), ("reward", "dpo")]
    held = bench.get("/compare/figures/reward", run=runs, algorithm="copg")
    assert {one["meta"]["algorithm"] for one in held["figure"]["data"]} == {"copg"}
    ends = bench.get("/compare/figures/reward/points", run=runs, algorithm="copg", after=held["cursor"])
    assert ends["reset"] is False
    assert bench.get("/compare/figures/reward/points", run=runs, after=held["cursor"])["reset"] is True
    asked = {"run": runs, "algorithm": "ipo"}
    refused = problem(bench.client.get(f"{API}/compare/figures/reward", params=asked), 422, "algorithm")
    assert "copg, dpo" in str(refused)
    answer = bench.client.get(f"{API}/compare/figures/reward", params={**asked, "algorithm": "dpo", "format": "csv"})
    assert "compare-reward-dpo.csv" in answer.headers["content-disposition"]


def test_a_greedy_log_ratio_is_not_called_kl_and_other_sampling_has_no_front() -> None:
    def drawn(*temperatures: float) -> tuple[str, int]:
        runs = [
            replace(member(beta), yardstick={"generation": {"temperature": temperature}})
            for beta, temperature in zip((0.1, 1.0), temperatures, strict=True)
        ]
        figure = figures.draw(compare(runs), figures.Look("frontier"))
        fronts = [one for one in figure.data if one.meta["role"] == "reference_front"]
        return str(figure.layout.xaxis.title.text), len(fronts)

    assert drawn(0, 0) == ("Greedy log-ratio, no KL estimate (nats)", 1)
    assert drawn(1, 1) == ("KL to the reference (nats)", 1)
    assert drawn(0, 1) == ("KL, or log-ratio where sampling was greedy (nats)", 0)


def test_groups_that_start_from_different_policies_have_no_front() -> None:
    def drawn(*starts: str) -> tuple[str, int]:
        runs = [replace(member(beta), start=start) for beta, start in zip((0.1, 1.0), starts, strict=True)]
        figure = figures.draw(compare(runs), figures.Look("frontier"))
        fronts = [one for one in figure.data if one.meta["role"] == "reference_front"]
        return str(figure.layout.xaxis.title.text), len(fronts)

    assert drawn("a", "a") == ("KL to the reference (nats)", 1)
    title, fronts = drawn("a", "b")
    assert "the runs start from different policies" in title
    assert fronts == 0


@pytest.mark.parametrize("name", ["reward", "best", "final", "frontier", "time"])
@pytest.mark.parametrize("measure", ["reward", "gold"])
def test_groups_evaluated_on_different_data_are_named(name: Any, measure: Any) -> None:
    runs = [
        replace(member(beta, algorithm=which), yardstick={"data": {"kind": "task", "seed": seed}})
        for beta, which, seed in ((0.1, "copg", 0), (1.0, "dpo", 1))
    ]
    seen = compare(runs)
    seen = replace(seen, groups=[with_gold(group) for group in seen.groups])
    seen = replace(
        seen, groups=[replace(one, members=[replace(one.members[0], points=one.points)]) for one in seen.groups]
    )
    drawn = figures.draw(seen, figures.Look(name, measure))
    told = "the groups were evaluated on different data: their values cannot be compared"
    below = str(drawn.layout.xaxis.title.text).replace(":<br>", ": ")
    assert told in below or told in [one.name for one in drawn.data]
    assert "reference_front" not in {one.meta["role"] for one in drawn.data}


def test_where_gold_is_maximised_there_is_no_way_to_draw() -> None:
    """It would be the diagonal, beside what another run optimises too far."""
    learned = replace(member(0.1), yardstick={"reward": {"kind": "run"}})
    itself = replace(member(1.0), yardstick={"reward": {"kind": "gold"}})
    seen = compare([learned, itself])
    seen = replace(seen, groups=[with_gold(group) for group in seen.groups])
    ways = [one.name for one in figures.gold(seen, "reward").data if one.meta["role"] == "way"]
    assert [name.split(",")[0] for name in ways] == ["CoPG β = 0.1"]
    assert "gold" in figures.names_of(seen)
    assert "gold" not in figures.names_of(replace(seen, groups=seen.groups[1:]))
