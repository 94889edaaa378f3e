"""Writers of small data files."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

Rows = list[dict[str, Any]]
Write = Callable[[str, Rows], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write rows under a name whose ending says the format; gives the path."""

    def write_rows(name: str, rows: Rows) -> str:
        path = tmp_path / name
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        if name.endswith(".jsonl"):
            path.write_text(lines, encoding="utf-8")
        elif name.endswith(".jsonl.gz"):
            path.write_bytes(gzip.compress(lines.encode()))
        elif name.endswith(".json"):
            path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
        elif name.endswith(".csv"):
            with path.open("w", newline="", encoding="utf-8") as stream:
                writer = csv.DictWriter(stream, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        else:
            pq.write_table(pa.Table.from_pylist(rows), path)
        return str(path)

    return write_rows
