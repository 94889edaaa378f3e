"""One pass over a file: what is counted, that it agrees with counting by hand, and that memory stays where it is."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from copg_core.datasets import token_lengths
from copg_core.datasets.analysis import analyse, load_keys, normalised
from copg_core.datasets.distinct import DistinctCounter, common, digest
from copg_core.datasets.files import read_rows
from copg_core.datasets.spread import Lengths, Values
from copg_core.errors import DataError
from copg_core.sources import FileData
from tests.data.conftest import Write


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3))))
def test_distinct_counts_are_exact_while_they_fit(given_keys: list[tuple[int, int]]) -> None:
    counter = DistinctCounter()
    for number, mark in given_keys:
        counter.add(digest(str(number)), 1 << mark)
    found = counter.result()
    numbers = [number for number, _ in given_keys]
    assert found.factor == 1
    assert found.distinct == len(set(numbers))
    assert found.repeated == len(numbers) - len(set(numbers))
    first, second = ({number for number, mark in given_keys if mark == wanted} for wanted in (0, 1))
    assert found.marked(1, 2) == len(first & second)


def test_beyond_its_capacity_a_counter_estimates_from_a_sample() -> None:
    counter, other = DistinctCounter(capacity=1000), DistinctCounter(capacity=3000)
    for number in range(20_000):
        for _ in range(1 + number % 3):
            counter.add(digest(str(number)), 1 + number % 2)
        if number >= 10_000:
            other.add(digest(str(number)))
    found = counter.result()
    assert found.factor > 1
    assert len(found.keys) <= 1000
    assert found.distinct == pytest.approx(20_000, rel=0.15)
    assert found.repeated == pytest.approx(20_000, rel=0.15)  # 0, 1 or 2 repetitions each
    assert found.marked(1) == pytest.approx(10_000, rel=0.2)
    prompts, rows = common(found, other.result())
    assert prompts == pytest.approx(10_000, rel=0.2)
    assert rows == prompts


def test_texts_are_told_apart_by_their_ends() -> None:
    assert digest("a", "bc") != digest("ab", "c")
    assert digest("a", "b") != digest("b", "a")


@given(st.lists(st.integers(0, 3000), min_size=1))
def test_lengths_are_those_of_numpy(values: list[int]) -> None:
    counted = Lengths()
    for value in values:
        counted.add(value)
    report = counted.report()
    assert report["median"] == int(np.quantile(values, 0.5, method="inverted_cdf"))
    assert report["p95"] == int(np.quantile(values, 0.95, method="inverted_cdf"))
    assert report["mean"] == pytest.approx(np.mean(values))
    assert sum(report["counts"]) + report["beyond"] == len(values)
    assert report["beyond"] <= 0.005 * len(values)


@pytest.mark.parametrize(
    "values", [[1.0], [3.0, 3.0, 3.0], [1e308, -1e308], [1e308, 1e308], [5e-324, 0.0], [1.5, -2.5]]
)
def test_odd_numbers_have_a_spread(values: list[float]) -> None:
    spread = Values()
    for value in values:
        spread.add(value)
    report = spread.report()
    assert report is not None
    assert (report["n"], report["min"], report["max"]) == (len(values), min(values), max(values))
    assert len(report["edges"]) in (0, len(report["counts"]) + 1)


def test_the_sample_of_a_long_stream_looks_like_it() -> None:
    spread, source = Values(sample=500), random.Random(1)
    for _ in range(20_000):
        spread.add(source.gauss(2, 1))
    report = spread.report()
    assert report is not None
    assert (report["mean"], report["deviation"]) == (pytest.approx(2, abs=0.05), pytest.approx(1, abs=0.05))
    assert report["sampled"]
    assert sum(report["counts"]) == 500


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("  What's  THIS?\n", "what s this"),
        ("STRASSE", normalised("Straße")),
        ("ｆｕｌｌ_width", "full width"),
        ("…", ""),
    ],
)
def test_normalised_texts(text: str, plain: str) -> None:
    assert normalised(text) == plain


def test_a_report_agrees_with_counting_by_hand(write: Write, tmp_path: Path) -> None:
    source = random.Random(3)
    rows: list[dict[str, Any]] = [
        {
            "prompt": f"p{source.randrange(30)}",
            "chosen": f"c{source.randrange(3)}",
            "rejected": f"c{source.randrange(3)}",
        }
        for _ in range(300)
    ]
    found = analyse(FileData(path=write("rows.jsonl", rows)))
    kept = [(row["prompt"], row["chosen"], row["rejected"]) for row in rows if row["chosen"] != row["rejected"]]
    report = found.report
    assert report["dropped"] == {"identical_pair": 300 - len(kept)}
    assert report["duplicates"]["rows"] == len(kept) - len(set(kept))
    assert report["duplicates"]["distinct_prompts"] == len({prompt for prompt, _, _ in kept})
    both = {(p, frozenset((a, b))) for p, a, b in kept if (p, b, a) in set(kept)}
    assert report["duplicates"]["swapped_pairs"] == len(both)
    assert report["lengths"]["chosen"]["n"] == len(kept)
    assert report["rewards"] == "order"
    assert report["contrast"] is None
    found.save_keys(tmp_path / "keys.npz")
    prompts, _ = load_keys(tmp_path / "keys.npz")
    counts = Counter(prompt for prompt, _, _ in kept)
    assert dict(zip(prompts.keys.tolist(), prompts.counts.tolist(), strict=True)) == {
        digest(prompt): count for prompt, count in counts.items()
    }


def test_a_look_can_end_early_and_says_so(write: Write) -> None:
    rows = [{"prompt": f"p{i}", "completion": "c"} for i in range(2000)]
    path = write("rows.jsonl", rows)
    assert analyse(FileData(path=path), max_rows=100).report["stopped"] == "after 100 rows"
    assert analyse(FileData(path=path), seconds=0).report["stopped"] == "after 0 seconds"
    assert analyse(FileData(path=path)).report["stopped"] is None


def test_prompts_alone_are_a_data_set_and_a_broken_row_is_named(write: Write, tmp_path: Path) -> None:
    report = analyse(FileData(path=write("rows.jsonl", [{"prompt": "a"}, {"prompt": "b"}]))).report
    assert (report["usable"], report["completions"]) == (2, 0)
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"broken\.jsonl, row 2: has no column 'completion'"):
        analyse(FileData(path=str(broken)))


@pytest.mark.parametrize("source", [{}, {"prompt_template": "Say: {prompt}"}])
def test_prompts_alone_are_counted_with_and_without_a_template(source: dict[str, str], write: Write) -> None:
    path = write("a.jsonl", [{"prompt": f"p{i}"} for i in range(5)])
    report = analyse(FileData(path=path, **source)).report
    assert (report["usable"], report["completions"], report["dropped"]) == (5, 0, {})


def test_token_lengths_read_no_more_rows_than_they_need(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("a.jsonl", [{"prompt": "a", "completion": "bc"}] * 5000)
    read: list[int] = []

    def watched(path: str) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, row in read_rows(path):
            read.append(number)
            yield number, row

    monkeypatch.setattr(token_lengths, "read_rows", watched)
    found = token_lengths.token_lengths(FileData(path=path), None, 100)
    assert (found["prompts"], found["completions"]) == ([2] * 100, [3] * 100)
    assert len(read) == 100
