"""Hub data sets through the `datasets` library: a local folder of the hub's format, and what is said when there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from copg_core.datasets import Comparison, load_comparisons
from copg_core.errors import DataError
from copg_core.sources import HubData


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A data set of 20 training and 3 validation pairs, by a relative path that looks like an id."""
    home = tmp_path / "people" / "pairs"
    home.mkdir(parents=True)
    for split, count in (("train", 20), ("validation", 3)):
        rows = [{"prompt": f"{split} {i}", "chosen": "b", "rejected": "c"} for i in range(count)]
        (home / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    return "people/pairs"


def test_splits_are_loaded(folder: str) -> None:
    split = load_comparisons(HubData(id=folder))
    assert split.train[0] == Comparison("train 0", "b", "c", 0.5, 0.0)
    assert [row.prompt for row in split.validation] == ["validation 0", "validation 1", "validation 2"]


def test_without_a_validation_split_prompts_are_held_out(folder: str, tmp_path: Path) -> None:
    (tmp_path / folder / "validation.jsonl").unlink()
    split = load_comparisons(HubData(id=folder, validation_share=0.3))
    assert len(split.train) + len(split.validation) == 20
    assert split.validation
    with pytest.raises(DataError, match="cannot be loaded from the hub"):
        load_comparisons(HubData(id=folder, validation_split="validation"))


def test_a_data_set_that_cannot_be_had_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"nobody/nothing: cannot be loaded from the hub: .*HF_TOKEN"):
        load_comparisons(HubData(id="nobody/nothing"))
