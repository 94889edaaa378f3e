"""Completions side by side: the same prompts in one row, what is new, who gained, and the histograms of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

import numpy as np
import pytest

from backend.figures.samples import _edges
from backend.figures.style import whole_ticks
from backend.routes.paging import pack
from backend.side_by_side import marked
from copg_core import events
from tests.backend.studio_bench import API, Bench, evaluation, problem

Said = Sequence[tuple[str, str, float | None, float | None, bool]]  # prompt, completion, reward, gold, whether it ended


def at(step: int, said: Said) -> events.Evaluation:
    samples = tuple(
        events.Sample(
            prompt_index=index,
            prompt=prompt,
            completion=completion,
            reward=reward,
            gold=gold,
            kl=0.1 * index,
            length=len(completion.split()),
            finished=finished,
        )
        for index, (prompt, completion, reward, gold, finished) in enumerate(said)
    )
    return evaluation(step).model_copy(update={"n": len(samples), "samples": samples})


START: Said = [
    ("a", "the cat sat", 0.0, 1.0, True),
    ("b", "a dog ran", 0.0, 1.0, True),
    ("c", "it rained", 0.0, 1.0, True),
    ("d", "", None, None, True),
]
END: Said = [
    ("a", "the black cat sat", 1.0, 2.0, True),
    ("b", "a dog ran", 2.0, 0.0, False),
    ("c", "it snowed", -1.0, 1.0, True),
    ("d", "at last", 3.0, 1.0, True),
]


def trained(bench: Bench, *evaluations: events.Evaluation, **config: Any) -> str:
    uid = bench.launch(reward={"kind": "function", "name": "length", "options": {"target": 3}}, **config)
    bench.record(bench.claim(uid), *evaluations)
    return uid


def see(bench: Bench, *columns: str, **query: Any) -> Any:
    return bench.get("/samples", column=list(columns), **query)


def test_two_steps_of_a_run_side_by_side(bench: Bench) -> None:
    run = trained(bench, at(0, START), at(50, START), at(100, END))
    seen = see(bench, f"{run}@first", f"{run}@last")
    assert [(one["label"], one["step"], one["n"], one["unfinished"]) for one in seen["columns"]] == [
        ("step 0", 0, 4, 0),
        ("step 100", 100, 4, 1),
    ]
    assert (seen["columns"][1]["reward_mean"], seen["columns"][0]["steps"]) == (1.25, [0, 50, 100])
    first, second, _, last = seen["items"]
    assert (first["prompt"], first["gain"], last["gain"]) == ("a", 1.0, None)  # nothing to gain over an unknown reward
    assert [(one["text"], one["new"]) for one in first["cells"][1]["pieces"]] == [
        ("the ", False),
        ("black ", True),
        ("cat sat", False),
    ]
    assert (first["cells"][0]["same"], second["cells"][1]["same"]) == (False, True)
    assert seen["counts"] == {"unfinished": 1, "rose": 2, "fell": 1, "rose_gold_fell": 1}


def test_rows_are_sorted_and_kept_by_the_focus(bench: Bench) -> None:
    run = trained(bench, at(0, START), at(100, END))
    asked = (f"{run}@0", f"{run}@100")

    def prompts(**query: Any) -> str:
        return "".join(row["prompt"] for row in see(bench, *asked, **query)["items"])

    assert [prompts(sort=order) for order in ("gain", "loss", "reward", "kl")] == ["bacd", "cabd", "dbac", "dcba"]
    assert [prompts(only=only) for only in ("unfinished", "rose", "fell", "rose_gold_fell")] == ["b", "ab", "c", "b"]
    assert prompts(only="rose", focus=0) == ""
    page = see(bench, *asked, sort="gain", limit=3)
    assert (page["total"], len(page["items"])) == (4, 3)
    rest = see(bench, *asked, sort="gain", limit=3, cursor=page["next_cursor"])
    assert ([row["prompt"] for row in rest["items"]], rest["next_cursor"]) == (["d"], None)


def test_runs_with_other_prompts_share_the_rows_that_they_can(bench: Bench) -> None:
    one = trained(bench, at(0, START), at(100, END), beta=0.1)
    other = trained(bench, at(0, [START[2], ("e", "new", 1.0, None, True), START[2]]), beta=1.0)
    queued = bench.launch()
    seen = see(bench, f"{one}@first", f"{other}@last", f"{queued}@last", focus=1)
    rows = [(row["prompt"], [cell is not None for cell in row["cells"]]) for row in seen["items"]]
    assert rows == [
        ("a", [True, False, False]),
        ("b", [True, False, False]),
        ("c", [True, True, False]),
        ("d", [True, False, False]),
        ("e", [False, True, False]),
        ("c", [False, True, False]),  # the same prompt a second time is a row of its own
    ]
    assert (seen["columns"][2]["step"], seen["columns"][2]["label"].endswith("no samples yet")) == (None, True)
    assert see(bench, f"{queued}@first")["items"] == []


def test_gold_is_named_only_where_it_is_another_reward(bench: Bench) -> None:
    assert see(bench, f"{trained(bench, at(0, START))}@first")["has_gold"] is True
    maximised = bench.launch(reward={"kind": "gold"})
    bench.record(bench.claim(maximised), at(0, START))
    assert see(bench, f"{maximised}@first")["has_gold"] is False


@pytest.mark.parametrize(
    ("change", "why", "gold"),
    [
        (
            {"reward": {"kind": "function", "name": "length", "options": {"target": 5}}},
            "scored by another reward",
            True,
        ),
        ({"evaluation": {"generation": {"temperature": 0.5}}}, "evaluated with other sampling", False),
    ],
)
def test_what_is_not_measured_alike_is_not_subtracted(
    bench: Bench, change: dict[str, Any], why: str, gold: bool
) -> None:
    one = trained(bench, at(0, START))
    other = bench.launch(**{"reward": {"kind": "function", "name": "length", "options": {"target": 3}}, **change})
    bench.record(bench.claim(other), at(0, START), at(100, END))
    asked = (f"{one}@0", f"{other}@100")
    seen = see(bench, *asked)
    assert [column["not_comparable"] for column in seen["columns"]] == [None, why]
    assert [row["gain"] for row in seen["items"]] == [None] * 4
    assert [cell["gain"] for row in seen["items"] for cell in row["cells"]] == [None] * 8
    assert [seen["counts"][name] for name in ("rose", "fell", "rose_gold_fell")] == [0, 0, 0]
    assert see(bench, *asked, sort="gain")["items"] == seen["items"]
    for measure, said in (("reward", True), ("gold", not gold), ("length", False)):
        figure = bench.get(f"/samples/figures/{measure}", column=list(asked))["figure"]
        assert [trace["name"].endswith(why) for trace in figure["data"]] == [False, said]
        assert ("each curve" in figure["layout"]["xaxis"]["title"]["text"]) == said
    # Two steps of the other run are measured alike.
    alike = see(bench, f"{other}@0", f"{other}@100")
    assert [column["not_comparable"] for column in alike["columns"]] == [None, None]
    assert alike["counts"]["rose"] == 2


def test_histograms_have_the_same_bins_for_all_columns(bench: Bench) -> None:
    run = trained(bench, at(0, START), at(100, END))
    for name in ("reward", "gold", "length"):
        drawn = bench.get(f"/samples/figures/{name}", column=[f"{run}@0", f"{run}@100"])
        assert drawn["empty"] is False
        answer = bench.client.get(
            f"{API}/samples/figures/{name}", params={"column": [f"{run}@0", f"{run}@100"], "format": "csv"}
        )
        series: dict[str, list[tuple[float, float]]] = {}
        for row in csv.DictReader(io.StringIO(answer.text)):
            series.setdefault(row["series"], []).append((float(row["x"]), float(row["y"])))
        one, other = series.values()
        assert [x for x, _ in one] == [x for x, _ in other]
        for points in (one, other):  # the last point only closes the last bin
            assert sum(y for _, y in points[:-1]) == pytest.approx(1)
    assert bench.get("/samples/figures/length", column=[f"{bench.launch()}@last"])["empty"] is True


def test_lengths_have_whole_ticks(bench: Bench) -> None:
    short = trained(bench, at(0, START))  # all completions are of nearly one length
    axis = bench.get("/samples/figures/length", column=[f"{short}@0"])["figure"]["layout"]["xaxis"]
    assert axis["dtick"] == 1
    assert "dtick" not in bench.get("/samples/figures/reward", column=[f"{short}@0"])["figure"]["layout"]["xaxis"]
    assert whole_ticks(500) == {}  # a tick for each would be too many


def test_wrong_wishes_are_said(bench: Bench) -> None:
    run = trained(bench, at(0, START), at(100, END))
    for column, status in ((run, 422), (f"{run}@soon", 422), (f"{run}@60", 422), ("nobody@last", 404)):
        answer = bench.client.get(f"{API}/samples", params={"column": column})
        problem(answer, status, "column" if status == 422 else None)
    assert "nearest are at 100" in bench.client.get(f"{API}/samples", params={"column": f"{run}@60"}).text
    problem(bench.client.get(f"{API}/samples", params={"column": [f"{run}@0"] * 9}), 422, "column")
    problem(bench.client.get(f"{API}/samples", params={"column": f"{run}@0", "focus": 1}), 422, "focus")
    for cursor in ("x", pack(float("nan")), pack(float("inf")), pack("a")):
        problem(bench.client.get(f"{API}/samples", params={"column": f"{run}@0", "cursor": cursor}), 422, "cursor")
    problem(bench.client.get(f"{API}/samples"), 422, "column")


def test_what_is_new_in_a_text() -> None:
    assert marked("", "") == []
    assert marked("same words", "same words") == [("same words", False)]
    assert marked("", "all of it") == [("all of it", True)]
    assert marked("one two", "one two three") == [("one two ", False), ("three", True)]
    assert marked("a  b", "a b") == [("a b", False)]  # white space alone is not news
    assert marked("x y z", "  x q z\n") == [("  ", True), ("x ", False), ("q ", True), ("z\n", False)]
    for text in ("  lead", "line\n\nline two\t", "ends "):
        assert "".join(piece for piece, _ in marked("line two", text)) == text


def test_a_policy_that_repeats_itself_for_thousands_of_words_is_compared_at_its_ends() -> None:
    long = marked("start " + "x y " * 4_000 + "end", "start " + "y z " * 4_000 + "end")
    assert [(new, len(text)) for text, new in long] == [(False, 6), (True, 16_000), (False, 3)]


def test_common_words_of_a_text_are_found_again() -> None:
    old = [f"word{place * place % 11}" for place in range(400)]
    new = [f"other{place}" if place in (50, 200, 350) else word for place, word in enumerate(old)]
    found = [text.split() for text, is_new in marked(" ".join(old), " ".join(new)) if is_new]
    assert found == [["other50"], ["other200"], ["other350"]]


def test_looking_for_words_that_are_repeated_comes_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0
    original = SequenceMatcher.find_longest_match

    def counted(*given: Any) -> Any:
        nonlocal looked
        looked += 1
        return original(*given)

    monkeypatch.setattr(SequenceMatcher, "find_longest_match", counted)
    found = marked("same " + "x " * 220 + "same", "same " + "x y " * 190 + "same")
    assert "".join(text for text, _ in found) == "same " + "x y " * 190 + "same"
    assert not found[0][1]
    assert not found[-1][1]
    assert 0 < looked < 10


@pytest.mark.parametrize(
    "values", [[0.3, 0.1 + 0.2], [1e17, 1e17], [1e16, float(np.nextafter(1e16, 2e16))], [0.0, 0.0]]
)
def test_rewards_that_differ_by_rounding_alone_are_in_one_bin(values: list[float]) -> None:
    edges = _edges(values * 8, whole=False)
    assert len(edges) == 2
    assert edges[0] < min(values) <= max(values) < edges[1]


def test_small_rewards_have_bins_of_their_own() -> None:
    assert len(_edges([1e-12 * number for number in range(1, 9)], whole=False)) > 2


def test_rewards_further_apart_than_numbers_reach_are_drawn(bench: Bench) -> None:
    run = trained(bench, at(0, [("a", "x", -1e308, None, True), ("b", "y", 1e308, None, True)]))
    drawn = bench.get("/samples/figures/reward", column=[f"{run}@0"])["figure"]
    assert drawn["data"][0]["x"] == [-1e308, 0.0, 1e308]
    assert drawn["data"][0]["y"] == [0.5, 0.5, 0.5]
