"""Prompts that two data sets share, from the digests that their analyses left."""

from __future__ import annotations

from backend import data_files
from backend.errors import Conflict
from backend.models_data import Dataset
from backend.schemas.datasets import OverlapOut
from backend.settings import Settings
from copg_core.datasets.analysis import load_keys
from copg_core.datasets.distinct import Distinct, common


def overlap(first: Dataset, second: Dataset, settings: Settings) -> OverlapOut:
    """What a model that is trained on `first` has seen of `second`. Raises Conflict where one was not analysed."""
    ours, theirs = (_keys(row, settings) for row in (first, second))
    (prompts, _), (flat, rows) = (common(mine, others) for mine, others in zip(ours, theirs, strict=True))
    return OverlapOut(
        first=first.uid,
        second=second.uid,
        prompts=prompts,
        normalised=flat,
        second_rows=rows,
        second_usable=int((second.report or {}).get("usable", 0)),
        one_of=max(found.factor for found in (*ours, *theirs)),
    )


def _keys(row: Dataset, settings: Settings) -> tuple[Distinct, Distinct]:
    try:
        if row.report is None:
            raise FileNotFoundError
        return load_keys(data_files.keys_path(settings, row.uid))
    except (OSError, ValueError, KeyError) as error:
        raise Conflict(
            f"{row.name!r} was not analysed (or the cache was emptied): have it analysed, then ask again"
        ) from error
