"""What the web process asks for: previews and checks, bounded and without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from copg_core.datasets import Comparison, Demonstration, check, preview
from copg_core.datasets import preview as preview_function
from copg_core.datasets.preview import CHECK_ROWS
from copg_core.errors import DataError
from copg_core.sources import FileData, HubData, TaskData
from tests.data.conftest import Write

PAIRS = [{"prompt": f"p{i}", "chosen": "b", "rejected": "c" if i else "b", "split": "x"} for i in range(9)]


def test_a_preview_shows_how_columns_are_understood_and_the_rows_that_training_keeps(write: Write) -> None:
    path = write("rows.jsonl", PAIRS)
    shown = preview(FileData(path=path), "copg", 2)
    assert shown.shape == "prompt/chosen/rejected"
    assert shown.columns == ["prompt", "chosen", "rejected", "split"]
    assert shown.mapping == {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}
    assert shown.rows == [Comparison(f"p{i}", "b", "c", 0.5, 0.0) for i in (1, 2)]  # p0 is an identical pair
    assert shown.counted_rows == 9
    assert preview(FileData(path=path), "sft", 1).rows == [Demonstration("p0", "b")]


@pytest.mark.parametrize("algorithm", ["sft", "reward_model", "dpo"])
def test_the_built_in_task_has_a_preview_and_nothing_to_check(algorithm: str) -> None:
    source = TaskData(train_size=50)
    check(source, algorithm)
    shown = preview_function(source, algorithm, 3)
    assert len(shown.rows) == 3
    assert shown.counted_rows == 50


def test_pairs_are_wanted_by_all_but_sft(write: Write) -> None:
    source = FileData(path=write("rows.jsonl", [{"prompt": "a", "completion": "b"}]))
    check(source, "sft")
    for algorithm in ("reward_model", "copg", "dpo", "ipo"):
        with pytest.raises(DataError, match="need pairs"):
            check(source, algorithm)


def test_the_validation_file_is_checked_too(write: Write, tmp_path: Path) -> None:
    train = write("train.jsonl", PAIRS)
    broken = tmp_path / "validation.jsonl"
    broken.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"validation.jsonl, row 1: is not valid JSON"):
        check(FileData(path=train, validation_path=str(broken)), "dpo")


def test_a_wrong_filter_is_found_before_queueing(write: Write) -> None:
    path = write("rows.jsonl", PAIRS)
    with pytest.raises(DataError, match="filter names column 'part'"):
        check(FileData(path=path, validation_where={"part": ["valid"]}), "dpo")
    with pytest.raises(DataError, match="no usable row: of 9, 9 are filtered out"):
        check(FileData(path=path, where={"split": ["train"]}), "dpo")


def test_a_huge_file_is_checked_by_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "huge.jsonl"
    with path.open("wb") as stream:
        stream.write(b'{"prompt": "a", "completion": "b"}\n' * CHECK_ROWS)
        stream.truncate(8 * 2**30)  # a sparse tail that would be an error, were it read
    check(FileData(path=str(path)), "sft")
    assert preview(FileData(path=str(path)), "sft", 5).counted_rows is None


def test_a_hub_data_set_is_read_by_its_run() -> None:
    check(HubData(id="trl-lib/tldr-preference"), "dpo")
    with pytest.raises(DataError, match="has no preview"):
        preview(HubData(id="trl-lib/tldr-preference"), "dpo", 3)


def test_checking_needs_neither_torch_nor_transformers(write: Write) -> None:
    path = write("rows.parquet", PAIRS)
    code = f"""
import sys
from copg_core.sources import FileData, TaskData
from copg_core.datasets import check, load_comparisons, preview
import copg_core.encoding, copg_core.tasks, copg_core.datasets.hub
check(FileData(path={path!r}), "copg")
preview(FileData(path={path!r}), "copg", 3)
load_comparisons(TaskData(train_size=16, validation_size=8))
heavy = {{"torch", "transformers", "datasets", "tokenizers", "accelerate"}} & sys.modules.keys()
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
