"""A data source to its training and validation rows, with every row counted. Torch-free.

What happens to a row, in this order: filters choose its part; an empty completion, two equal completions and dialogues
without a common prompt are dropped, and rows without what their reward compares with; everything else is kept, duplicates too (people oversample on purpose; they are counted).
Where no validation rows are named, prompts are split by a hash of their text, so that no prompt is in both parts.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from typing import TypeVar

from copg_core.datasets import builtin, hub
from copg_core.datasets.files import Record, file_hash, read_rows
from copg_core.datasets.shapes import EXPECTED, Shape, recognise
from copg_core.datasets.stored import on_disk
from copg_core.errors import DataError
from copg_core.rows import Comparison, Context, Demonstration, Split, Value
from copg_core.sources import DataSource, FileData, HubData, TaskData, UploadData
from copg_core.wording import named

Row = TypeVar("Row", Demonstration, Comparison)
Parsed = TypeVar("Parsed", bound=Demonstration | Comparison | str)
Numbered = Iterator[tuple[int, Record]]


def load_demonstrations(source: DataSource) -> Split[Demonstration]:
    """Rows for supervised fine-tuning. Of a pair, the chosen (or better rewarded, or first) completion is imitated.

    Raises DataError with file, row and what was expected.
    """
    if isinstance(source, TaskData):
        return builtin.demonstrations(source)
    return _Loading(readable(source), pairs=False).split(Shape.demonstration)


def load_comparisons(source: DataSource) -> Split[Comparison]:
    """Pairs for reward models and preference runs. Raises DataError with file, row and what was expected."""
    if isinstance(source, TaskData):
        return builtin.comparisons(source)
    return _Loading(readable(source), pairs=True).split(Shape.comparison)


def load_prompts(source: DataSource) -> Split[Demonstration]:
    """Prompts for runs whose policy writes every completion, from data of any shape: demonstrations without completion.

    Raises DataError where there is nothing to take a prompt from.
    """
    if isinstance(source, TaskData):
        return builtin.prompts(source)
    return _Loading(readable(source), pairs=False, prompts=True).split(Shape.prompt)


def content_hash(source: DataSource) -> str:
    """SHA-256 that names the rows: the bytes of files, the seed of a task, id and revision on the hub."""
    if isinstance(source, TaskData):
        return builtin.content_hash(source)
    if isinstance(source, HubData):
        return hub.source_hash(source)
    source = readable(source)
    assert isinstance(source, FileData)
    hashes = [file_hash(path) for path in (source.path, source.validation_path) if path]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256(" ".join(hashes).encode()).hexdigest()


def readable(source: FileData | HubData | UploadData) -> FileData | HubData:
    """The source itself. Raises DataError for an uploaded file that was not located: here nobody knows where it is."""
    found = on_disk(source, None)
    assert isinstance(found, FileData | HubData)
    return found


def need_pairs(shape: Shape, *, pairs: bool) -> None:
    """Raise DataError where pairs are wanted and the source has single completions."""
    if pairs and not shape.pairs:
        raise DataError(
            f"has one completion for each prompt ({shape.name}); reward models and preference runs need pairs: {EXPECTED}"
        )


def matches(record: Record, where: dict[str, list[str]]) -> bool:
    """True where every filtered column holds one of its values; `true`, `True` and `3`, `"3"` are the same."""
    return all(_written(record, column) & set(values) for column, values in where.items())


def _written(record: Record, column: str) -> set[str]:
    if column not in record:
        raise DataError(f"the filter names column {column!r}, but the columns are {named(record)}")
    value = record[column]
    return {str(value), json.dumps(value, default=str)}


def keep_context(row: Parsed, record: Record, source: FileData | HubData) -> Parsed | str:
    """The row with the columns that its reward is told, or why it is dropped. Raises DataError where a column is not there."""
    columns = source.context
    if isinstance(row, str) or not columns:
        return row
    missing = [column for column in columns if column not in record]
    if missing:
        raise DataError(
            f"has no column {missing[0]!r}, which the reward reads; it has {named(record)}. "
            "Name another column in the reward, or leave it out of `context`"
        )
    if any(record[column] is None or record[column] == [] for column in source.needed):
        return "no_reference"
    return replace(row, context=Context({column: record[column] for column in columns}))


@contextmanager
def located(source: str, row: int) -> Iterator[None]:
    """Give a DataError raised inside, which knows no place, this one."""
    try:
        yield
    except DataError as error:
        if error.source is not None:
            raise
        raise DataError(str(error), source=source, row=row) from error


class _Loading:
    """One pass over a source; `counts` becomes the report."""

    def __init__(self, source: FileData | HubData, *, pairs: bool, prompts: bool = False) -> None:
        self._source, self._pairs, self._prompts = source, pairs, prompts
        self._counts: Counter[str] = Counter()
        self._shape = ""

    def split(self, parse: Callable[[Shape, Record], Row | str]) -> Split[Row]:
        source = self._source
        train: list[Row] = []
        validation: list[Row] = []
        separate = self._separate()
        by_hash = separate is None and not source.validation_where
        for part, row in self._rows(
            self._train_rows(), source.path if isinstance(source, FileData) else source.id, parse
        ):
            if by_hash and _hashed(row) < source.validation_share:
                part = "validation"
            if part == "validation":
                validation.append(row)
            elif source.limit is None or len(train) < source.limit:
                train.append(row)
            full = source.limit is not None and len(train) >= source.limit
            if by_hash and full and (validation or source.validation_share == 0):
                self._counts["stopped_at_limit"] = 1
                break
        if separate is not None:
            name, rows = separate
            validation += [row for _, row in self._rows(rows, name, parse, only_validation=True)]
        if by_hash and source.validation_share > 0 and not validation:
            train, validation = _hold_out_one(train)
        if not train:
            dropped = {key: count for key, count in self._counts.items() if count}
            raise DataError(f"has no usable training row ({dropped})", source=self._name())
        return Split(train, validation, self._report(train, validation))

    def _train_rows(self) -> Numbered:
        source = self._source
        return read_rows(source.path) if isinstance(source, FileData) else hub.read_split(source, source.split)

    def _separate(self) -> tuple[str, Numbered] | None:
        """Validation rows that have a file or split of their own."""
        source = self._source
        if isinstance(source, FileData):
            return (source.validation_path, read_rows(source.validation_path)) if source.validation_path else None
        split = source.validation_split
        if not split or source.validation_where or split == source.split:
            return None
        # The default name is a guess: a data set without such a split is split by prompt instead.
        if "validation_split" not in source.model_fields_set and split not in hub.splits(source):
            return None
        return f"{source.id} ({split})", hub.read_split(source, split)

    def _rows(
        self, rows: Numbered, name: str, parse: Callable[[Shape, Record], Row | str], only_validation: bool = False
    ) -> Iterator[tuple[str, Row]]:
        source, counts = self._source, self._counts
        first = next(rows, None)
        if first is None:
            raise DataError("has no rows", source=name)
        with located(name, first[0]):
            shape = recognise(first[1], source.columns, source.prompt_template, prompts=self._prompts)
            need_pairs(shape, pairs=self._pairs)
        self._shape = self._shape or shape.name
        for number, record in chain([first], rows):
            counts["rows_read"] += 1
            with located(name, number):
                part = self._part(record, only_validation)
                row = keep_context(parse(shape, record), record, source) if part else "filtered_out"
            if isinstance(row, str):
                counts[f"dropped_{row}"] += 1
            elif part:
                yield part, row

    def _part(self, record: Record, only_validation: bool) -> str | None:
        source = self._source
        if source.validation_where and matches(record, source.validation_where):
            return "validation"
        if only_validation:
            return None if source.validation_where else "validation"
        return "train" if matches(record, source.where) else None

    def _name(self) -> str:
        return self._source.path if isinstance(self._source, FileData) else self._source.id

    def _report(self, train: list[Row], validation: list[Row]) -> dict[str, Value]:
        prompts = {_key(row) for row in train}
        return {
            "source": self._name(),
            "shape": self._shape,
            "train_rows": len(train),
            "validation_rows": len(validation),
            "rows_read": self._counts["rows_read"],
            "rows_filtered_out": self._counts["dropped_filtered_out"],
            "dropped_empty_completion": self._counts["dropped_empty_completion"],
            **({"dropped_identical_pair": self._counts["dropped_identical_pair"]} if self._pairs else {}),
            "dropped_no_common_prompt": self._counts["dropped_no_common_prompt"],
            **({"dropped_no_reference": self._counts["dropped_no_reference"]} if self._source.needed else {}),
            "stopped_at_limit": bool(self._counts["stopped_at_limit"]),
            "duplicate_rows": len(train) - len(set(train)),
            "empty_prompts": sum(not row.prompt for row in train),
            "train_prompts": len(prompts),
            "validation_rows_with_a_training_prompt": sum(_key(row) in prompts for row in validation),
            "content_hash": content_hash(self._source),
        }


def _key(row: Demonstration | Comparison) -> str:
    """What must not be in both parts: the prompt, or the first completion of a row that has none."""
    return row.prompt or (row.completion if isinstance(row, Demonstration) else row.completion_1)


def _hashed(row: Demonstration | Comparison) -> float:
    """A number in [0, 1) that only the prompt decides."""
    digest = hashlib.blake2b(_key(row).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def _hold_out_one(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """Few rows: the prompt of smallest hash is held out, unless it is the only one."""
    keys = {_key(row): _hashed(row) for row in rows}
    if len(keys) < 2:
        return rows, []
    held = min(keys, key=lambda key: (keys[key], key))
    return [row for row in rows if _key(row) != held], [row for row in rows if _key(row) == held]
