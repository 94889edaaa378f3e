"""Rows of a data set of the Hugging Face hub, or of a local folder in the same format. Torch-free to import."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from copg_core.datasets.files import Record
from copg_core.errors import DataError
from copg_core.sources import HubData


def read_split(source: HubData, split: str) -> Iterator[tuple[int, Record]]:
    """Row number (from 1) and columns of every row of one split. Raises DataError where it cannot be had."""
    table = _load(source, split)
    for number, record in enumerate(table, start=1):
        yield number, dict(record)


def splits(source: HubData) -> list[str]:
    """Names of the splits, as the hub lists them."""
    import datasets

    with _explained(source):
        return list(datasets.get_dataset_split_names(source.id, source.subset, revision=source.revision))


def source_hash(source: HubData) -> str:
    """SHA-256 of what names the rows: id, subset, revision and splits. A branch name does not pin its content."""
    parts = (source.id, source.subset, source.revision, source.split, source.validation_split)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _load(source: HubData, split: str) -> Any:
    import datasets

    with _explained(source):
        return datasets.load_dataset(source.id, source.subset, split=split, revision=source.revision)


class _explained:  # noqa: N801
    """Turns whatever the library and the network raise into one sentence of ours."""

    def __init__(self, source: HubData) -> None:
        self._source = source

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or not isinstance(error, Exception):
            return
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"cannot be loaded from the hub: {reason}. Check the id, subset, split and revision, that this machine reaches "
            "the hub (or has the data set in its cache), and that HF_TOKEN is set for a gated one",
            source=self._source.id,
        ) from error
