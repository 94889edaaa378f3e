"""Parquet files to rows. A file of some hundred bytes can hold gigabytes, since a value that is repeated stands in it once:
no more rows are built together than one would take that is as long as a row may be. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from copg_core.errors import DataError
from copg_core.wording import named

MOST_ROWS = 32
"""Rows that are built together. Of these only the first one's size is known before: more would hardly be faster."""


@contextmanager
def _told(source: str, row: Callable[[], int]) -> Iterator[None]:
    """What goes wrong in the library, as a DataError that names the row after the last one that was read."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        read = row()
        raise DataError(
            f"is no readable parquet file: {reason}", source=source, row=read + 1 if read else None
        ) from error


def rows(file: Path, source: str, *, most_bytes: int, buffer: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Row number and columns of every row; a row may hold `most_bytes`. Raises DataError."""
    import pyarrow.parquet as pq

    row = 0
    with _told(source, lambda: row), pq.ParquetFile(file, buffer_size=buffer) as table:
        names = table.schema_arrow.names
        if not names or len(set(names)) < len(names):
            raise DataError(f"expected different column names, found {named(names)}", source=source)
        first = next(table.iter_batches(batch_size=1), None)
        if first is None:
            return
        at_once = min(MOST_ROWS, max(1, most_bytes // max(1, first.nbytes)))
        for batch in table.iter_batches(batch_size=at_once):
            # Of rows that are longer than the first one each is looked at by itself.
            step = 1 if batch.nbytes > most_bytes else batch.num_rows
            for start in range(0, batch.num_rows, max(1, step)):
                part = batch.slice(start, step)
                if part.num_rows == 1 and part.nbytes > most_bytes:
                    raise DataError(f"row is longer than {most_bytes // 2**20} MiB", source=source, row=row + 1)
                for record in part.to_pylist():
                    row += 1
                    yield row, record


def count(file: Path, source: str) -> int:
    """How many rows the file says that it has. Raises DataError."""
    import pyarrow.parquet as pq

    with _told(source, lambda: 0), pq.ParquetFile(file) as table:
        return int(table.metadata.num_rows)
