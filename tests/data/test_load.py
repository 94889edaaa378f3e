"""Which rows are kept, and in which part: filters, the split by prompt, what is dropped, and that all of it is counted."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from copg_core.datasets import content_hash, load_comparisons, load_demonstrations
from copg_core.errors import DataError
from copg_core.sources import FileData
from tests.data.conftest import Rows, Write


def numbered(count: int, prompts: int) -> Rows:
    return [{"prompt": f"p{i % prompts}", "completion": f"c{i}"} for i in range(count)]


@given(st.integers(20, 60), st.floats(0.01, 0.5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
def test_no_prompt_is_in_both_parts_and_no_row_is_lost(write: Write, prompts: int, share: float) -> None:
    rows = numbered(120, prompts)
    split = load_demonstrations(FileData(path=write("rows.jsonl", rows), validation_share=share))
    train, validation = ({row.prompt for row in part} for part in (split.train, split.validation))
    assert not train & validation
    assert validation
    assert len(split.train) + len(split.validation) == 120
    assert split.report["validation_rows_with_a_training_prompt"] == 0


def test_the_split_is_a_function_of_the_prompt(write: Write) -> None:
    rows = numbered(400, 200)
    forward = load_demonstrations(FileData(path=write("a.jsonl", rows), validation_share=0.2))
    backward = load_demonstrations(FileData(path=write("b.jsonl", rows[::-1]), validation_share=0.2))
    assert {row.prompt for row in forward.validation} == {row.prompt for row in backward.validation}
    assert 0.1 < len(forward.validation) / 400 < 0.3


def test_what_is_dropped_is_counted(write: Write) -> None:
    rows = [
        {"prompt": "a", "chosen": "good", "rejected": "bad"},
        {"prompt": "a", "chosen": "good", "rejected": "bad"},
        {"prompt": "b", "chosen": "same", "rejected": "same"},
        {"prompt": "c", "chosen": "", "rejected": "bad"},
        {"prompt": "d", "chosen": "good", "rejected": None},
        {"prompt": "", "chosen": "good", "rejected": "bad"},
    ]
    report = load_comparisons(FileData(path=write("rows.jsonl", rows), validation_share=0)).report
    assert report["rows_read"] == 6
    assert report["dropped_identical_pair"] == 1
    assert report["dropped_empty_completion"] == 2
    assert report["train_rows"] == 3
    assert report["duplicate_rows"] == 1
    assert report["empty_prompts"] == 1


def test_dialogues_that_share_no_turn_are_dropped_and_counted(write: Write) -> None:
    rows = [
        {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: z\n\nAssistant: c"},
        {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"},
    ]
    split = load_comparisons(FileData(path=write("rows.jsonl", rows), validation_share=0))
    assert split.report["dropped_no_common_prompt"] == 1
    assert len(split.train) == 1


def test_filters_choose_the_parts_of_one_file(write: Write) -> None:
    rows = [
        {"prompt": f"p{i}", "completion": "c", "split": name, "fine": i % 2 == 0, "n": i}
        for i, name in enumerate(["train", "valid", "train", "test"])
    ]
    path = write("rows.jsonl", rows)
    split = load_demonstrations(FileData(path=path, where={"split": ["train"]}, validation_where={"split": ["valid"]}))
    assert [row.prompt for row in split.train] == ["p0", "p2"]
    assert [row.prompt for row in split.validation] == ["p1"]
    assert split.report["rows_filtered_out"] == 1
    for written in ("true", "True"):
        split = load_demonstrations(FileData(path=path, where={"fine": [written]}, validation_share=0))
        assert [row.prompt for row in split.train] == ["p0", "p2"]
    split = load_demonstrations(FileData(path=path, where={"n": ["3", "1"]}, validation_share=0))
    assert [row.prompt for row in split.train] == ["p1", "p3"]


def test_shared_prompts_of_a_validation_file_are_reported(write: Write) -> None:
    train, validation = write("train.jsonl", numbered(4, 4)), write("validation.csv", numbered(6, 6))
    split = load_demonstrations(FileData(path=train, validation_path=validation))
    assert (len(split.train), len(split.validation)) == (4, 6)
    assert split.report["validation_rows_with_a_training_prompt"] == 4


def test_the_limit_takes_training_rows_from_the_start(write: Write) -> None:
    path = write("rows.jsonl", numbered(100, 100))
    whole = load_demonstrations(FileData(path=path, validation_share=0.2))
    some = load_demonstrations(FileData(path=path, validation_share=0.2, limit=10))
    assert some.train == whole.train[:10]
    assert some.report["stopped_at_limit"] is True


def test_the_hash_names_the_bytes_of_all_files(write: Write) -> None:
    path, other = write("a.jsonl", numbered(3, 3)), write("b.jsonl", numbered(4, 4))
    hashes = {
        content_hash(FileData(path=path)),
        content_hash(FileData(path=other)),
        content_hash(FileData(path=path, validation_path=other)),
    }
    assert len(hashes) == 3
    assert content_hash(FileData(path=path)) == content_hash(FileData(path=write("copy.jsonl", numbered(3, 3))))


def test_one_prompt_only_leaves_validation_empty(write: Write) -> None:
    split = load_demonstrations(FileData(path=write("rows.jsonl", numbered(5, 1)), validation_share=0.01))
    assert len(split.train) == 5
    assert split.validation == []


@pytest.mark.parametrize("rows", [[{"prompt": "a", "completion": " "}], [{"prompt": "a", "completion": None}]])
def test_nothing_usable_is_an_error(rows: Rows, write: Write) -> None:
    with pytest.raises(DataError, match="no usable training row"):
        load_demonstrations(FileData(path=write("rows.jsonl", rows)))
