"""What the web process asks of a source before anything is queued: a preview, and a check in bounded time. Torch-free."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any

from copg_core.datasets import builtin
from copg_core.datasets.files import Record, count_rows, format_of, read_rows
from copg_core.datasets.load import keep_context, located, matches, need_pairs, readable
from copg_core.datasets.shapes import Shape, recognise
from copg_core.errors import DataError
from copg_core.rows import Comparison, Demonstration, Preview
from copg_core.sources import DataSource, FileData, HubData, TaskData, expanded

Parse = Callable[[Record], Demonstration | Comparison | str]

CHECK_SECONDS = 1.0
CHECK_ROWS = 20_000
# Smaller files are counted for the preview, if that takes no longer: a small file can hold very many rows. Parquet says how many it has.
COUNTED_BYTES = 8 * 2**20
COUNT_SECONDS = 0.3
# A preview shows rows that training keeps; it looks no further than this for them.
PREVIEW_ROWS = 2_000
SHOWN_LETTERS = 20_000


def preview(source: DataSource, algorithm: str, rows: int, *, prompts: bool = False) -> Preview:
    """How the source was understood, with its first usable rows. Raises DataError as loading would.

    For SFT the rows are demonstrations; for every other algorithm they are comparisons. With `prompts` they are prompts alone:
    demonstrations whose completion is empty.
    """
    pairs = algorithm != "sft"
    if isinstance(source, TaskData):
        return builtin.preview(source, pairs=pairs, rows=rows, prompts=prompts)
    if isinstance(source, HubData):
        raise DataError("a hub data set is read when its run starts and has no preview here", source=source.id)
    source = readable(source)
    assert isinstance(source, FileData)
    shape, parse, numbered = _opened(source, source.path, pairs=pairs, prompts=prompts)
    shown: list[Demonstration | Comparison] = []
    for number, record in islice(numbered, PREVIEW_ROWS):
        with located(source.path, number):
            row = keep_context(parse(record), record, source) if matches(record, source.where) else "filtered"
        if not isinstance(row, str):
            shown.append(row)
        if len(shown) >= rows:
            break
    if not shown:
        raise DataError(f"none of the first {PREVIEW_ROWS} rows is usable: filtered out or empty", source=source.path)
    return Preview(shape.name, shape.columns, shape.mapping, shown, _counted(source))  # type: ignore[arg-type]


def as_json(found: Preview) -> dict[str, Any]:
    """A preview as JSON, its texts cut to SHOWN_LETTERS: a row may hold megabytes, of which nobody reads more."""
    return {
        "shape": found.shape,
        "columns": list(found.columns),
        "mapping": dict(found.mapping),
        "rows": [
            {
                name: value[:SHOWN_LETTERS] if isinstance(value, str) else value
                for name in ("prompt", "completion", "completion_1", "completion_2", "reward_1", "reward_2")
                if (value := getattr(row, name, None)) is not None
            }
            for row in found.rows
        ],
        "counted_rows": found.counted_rows,
    }


def check(source: DataSource, algorithm: str, *, prompts: bool = False) -> None:
    """Raise DataError where the source cannot be used; look at as many rows as fit in about a second for each file.

    Small files are read to their end, so a broken row or a cut gzip stream is named before anything is queued. Of a hub data
    set only the form of its id is known here, and the configuration has checked that. With `prompts` they are all it needs.
    """
    if not isinstance(source, FileData):
        return
    _check_file(source, source.path, algorithm, validation=False, prompts=prompts)
    if source.validation_path:
        _check_file(source, source.validation_path, algorithm, validation=True, prompts=prompts)


def _check_file(source: FileData, path: str, algorithm: str, *, validation: bool, prompts: bool) -> None:
    pairs = algorithm != "sft"
    deadline = time.monotonic() + CHECK_SECONDS
    _, parse, numbered = _opened(source, path, pairs=pairs, prompts=prompts)
    where = source.validation_where if validation else source.where
    read = filtered = usable = 0
    for read, (number, record) in enumerate(numbered, start=1):
        with located(path, number):
            kept = matches(record, where)
            if source.validation_where:
                matches(record, source.validation_where)
            usable += kept and not isinstance(keep_context(parse(record), record, source), str)
        filtered += not kept
        if read >= CHECK_ROWS or time.monotonic() > deadline:
            break
    else:
        if usable == 0:
            raise DataError(
                f"has no usable row: of {read}, {filtered} are filtered out and {read - filtered} have an empty completion, "
                "two equal ones, no common prompt, or nothing in a column that the reward needs",
                source=path,
            )


def _opened(
    source: FileData, path: str, *, pairs: bool, prompts: bool = False
) -> tuple[Shape, Parse, Iterator[tuple[int, Record]]]:
    """The shape of a file, the reader of one record, and all its rows, the first one included."""
    numbered = read_rows(path)
    first = next(numbered, None)
    if first is None:
        raise DataError("has no rows", source=path)
    with located(path, first[0]):
        shape = recognise(first[1], source.columns, source.prompt_template, prompts=prompts)
        need_pairs(shape, pairs=pairs and not prompts)
    if prompts:
        return shape, shape.prompt, chain([first], numbered)
    return shape, shape.comparison if pairs else shape.demonstration, chain([first], numbered)


def _counted(source: FileData) -> int | None:
    try:
        if format_of(expanded(source.path)) != ".parquet" and expanded(source.path).stat().st_size > COUNTED_BYTES:
            return None
    except OSError:
        return None
    return count_rows(source.path, COUNT_SECONDS)
