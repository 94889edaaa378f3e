"""From the hash of an uploaded file to its path, on whichever machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from copg_core.datasets import check, content_hash, load_comparisons, on_disk
from copg_core.errors import DataError
from copg_core.sources import FileData, StoredFile, UploadData
from tests.data.conftest import Write

PAIRS = [{"prompt": f"p{i}", "chosen": "b", "rejected": "c"} for i in range(9)]


@pytest.fixture
def stored(write: Write, tmp_path: Path) -> UploadData:
    """An upload whose file stands in the folder `datasets`."""
    path = Path(write("rows.jsonl", PAIRS))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    home = tmp_path / "datasets" / sha256
    home.mkdir(parents=True)
    path.rename(home / "rows.jsonl")
    return UploadData(id="0" * 32, limit=5, file=StoredFile(sha256=sha256, name="rows.jsonl"))


def test_an_upload_is_read_like_the_file_that_it_is(stored: UploadData, tmp_path: Path) -> None:
    found = on_disk(stored, tmp_path / "datasets", verify=True)
    assert isinstance(found, FileData)
    assert found.limit == 5
    assert stored.file is not None
    assert content_hash(found) == stored.file.sha256
    split = load_comparisons(found)
    assert len(split.train) + len(split.validation) == 5


def test_content_that_came_back_under_another_name_is_found(stored: UploadData, tmp_path: Path) -> None:
    assert stored.file is not None
    home = tmp_path / "datasets" / stored.file.sha256
    (home / "rows.jsonl").rename(home / "again.jsonl")
    (home / "other.csv").write_text("a", encoding="utf-8")
    found = on_disk(stored, tmp_path / "datasets")
    assert isinstance(found, FileData)
    assert found.path.endswith("again.jsonl")


def test_what_is_not_there_or_changed_is_said(stored: UploadData, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not in .*elsewhere on this machine: let COPG_ARTIFACTS_URL name"):
        on_disk(stored, tmp_path / "elsewhere")
    with pytest.raises(DataError, match="by the runs of the studio that keeps it"):
        load_comparisons(stored)
    check(stored, "copg")  # who does not know the folder leaves it to the run
    assert stored.file is not None
    (tmp_path / "datasets" / stored.file.sha256 / "rows.jsonl").write_text("other", encoding="utf-8")
    with pytest.raises(DataError, match="has changed since it was uploaded"):
        on_disk(stored, tmp_path / "datasets", verify=True)
