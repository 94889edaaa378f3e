"""What a row knows for its reward: columns kept beside prompt and completions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from copg_core.datasets import check, load_comparisons, load_demonstrations, preview
from copg_core.errors import DataError
from copg_core.reward_sources import EntailmentReward, FunctionReward, UnitTestReward, with_context
from copg_core.rows import NO_CONTEXT, Context
from copg_core.sources import FileData

PAIRS = [
    {"prompt": f"p{i}", "chosen": "b", "rejected": "c", "reference": f"r{i}", "tests": ["assert x", f"{i}"]}
    for i in range(6)
]


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    return str(file)


def test_kept_columns_travel_with_their_row_and_nothing_does_by_default(pairs: str) -> None:
    split = load_comparisons(FileData(path=pairs, context=["reference", "tests"], validation_share=0.4))
    by_prompt = {row.prompt: row.context for row in [*split.train, *split.validation]}
    assert {key: dict(value) for key, value in by_prompt.items()} == {
        row["prompt"]: {"reference": row["reference"], "tests": row["tests"]} for row in PAIRS
    }
    assert {row.context for row in load_comparisons(FileData(path=pairs)).train} == {NO_CONTEXT}
    demonstrations = load_demonstrations(FileData(path=pairs, context=["reference"], validation_share=0))
    assert [row.context["reference"] for row in demonstrations.train] == [row["reference"] for row in PAIRS]


def test_a_column_that_is_not_there_is_named_before_anything_is_queued(pairs: str) -> None:
    source = FileData(path=pairs, context=["summary"])
    for use in (lambda: load_comparisons(source), lambda: check(source, "copg"), lambda: preview(source, "copg", 1)):
        with pytest.raises(DataError, match=r"row 1: has no column 'summary', which the reward reads; it has prompt,"):
            use()


@pytest.mark.parametrize("nothing", [None, []])
def test_rows_without_what_their_reward_compares_with_are_left_out_and_counted(tmp_path: Path, nothing: Any) -> None:
    file = tmp_path / "pairs.jsonl"
    rows = [{**row, "reference": nothing if i < 2 else row["reference"], "note": None} for i, row in enumerate(PAIRS)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = FileData(path=str(file), context=["note"], validation_share=0)
    split = load_comparisons(with_context(source, FunctionReward(name="rouge_l", reference="reference")))
    assert [row.context["reference"] for row in split.train] == ["r2", "r3", "r4", "r5"], "a null note drops nothing"
    assert split.report["dropped_no_reference"] == 2
    setup = UnitTestReward(tests="tests", setup="note")
    assert len(load_comparisons(with_context(source, setup)).train) == 6, "without set-up code a row can be scored"
    assert "dropped_no_reference" not in load_comparisons(source).report
    empty = with_context(source, EntailmentReward(model="a/b", premise="note"))
    with pytest.raises(DataError, match="nothing in a column that the reward needs"):
        check(empty, "copg")
    with pytest.raises(DataError, match=r"no usable training row.*dropped_no_reference': 6"):
        load_comparisons(empty)


def test_a_context_is_read_only_hashable_and_equal_by_content() -> None:
    one, same = Context({"tests": ["a"], "answer": 3}), Context({"answer": 3, "tests": ["a"]})
    assert one == same
    assert len({one, same, Context({"tests": ["b"], "answer": 3})}) == 2
    assert one["tests"] == ["a"]
    with pytest.raises(TypeError):
        one["answer"] = 4  # type: ignore[index]
