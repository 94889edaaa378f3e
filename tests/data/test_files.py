"""Formats, and what a broken file is answered with: the file, the row, and what was expected."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from copg_core.datasets import check, load_demonstrations, parquet, preview
from copg_core.datasets.files import MAX_ROW_BYTES, count_rows, read_rows
from copg_core.errors import DataError
from copg_core.sources import FileData
from tests.data.conftest import Rows, Write

ROWS: Rows = [{"prompt": f'p{i} “é”\nline, "quoted"', "completion": f"c{i}"} for i in range(700)]
GOOD = b'{"prompt": "a", "completion": "b"}\n'


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.csv", "a.parquet", "A.b.JSONL"])
def test_every_format_gives_the_same_rows(name: str, write: Write, tmp_path: Path) -> None:
    path = write(name.lower(), ROWS)
    if name != name.lower():
        path = str(Path(path).rename(tmp_path / name))
    assert list(read_rows(path)) == list(enumerate(ROWS, start=1))


@pytest.mark.parametrize(
    "text", ["[]", "[ {} , {} ]", '[{"a": [1, {"b": "]"}]}]', '\ufeff[{"a": 1}]', '{"a": 1}\n{"a": 2}\n']
)
def test_json_is_an_array_or_lines(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    plain = text.removeprefix("\ufeff")
    expected = json.loads(plain) if plain.startswith("[") else [json.loads(line) for line in plain.splitlines()]
    assert [row for _, row in read_rows(str(path))] == expected


VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3))


@given(st.lists(st.dictionaries(st.text(), VALUES, max_size=3), max_size=5), st.sampled_from([None, 0, 3]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_an_array_is_parsed_as_json_would(tmp_path: Path, rows: Rows, indent: int | None) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows, indent=indent), encoding="utf-8")
    assert [row for _, row in read_rows(str(path))] == rows


def test_rows_longer_than_the_read_window_are_whole(tmp_path: Path) -> None:
    rows = [{"a": "x" * size} for size in (1, 70_000, 300_000, 2)]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    assert [row for _, row in read_rows(str(path))] == rows


@pytest.mark.parametrize("between", [",", " \n,\t ", "," + " " * 70_000])
def test_an_array_of_many_windows_is_whole(between: str, tmp_path: Path) -> None:
    rows = [{"a": "é" * (number % 7), "b": number} for number in range(6000 if len(between) < 9 else 9)]
    path = tmp_path / "a.json"
    path.write_text("[" + between.join(json.dumps(row, ensure_ascii=False) for row in rows) + " ]\n", encoding="utf-8")
    assert [row for _, row in read_rows(str(path))] == rows


def test_blank_lines_keep_the_row_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(GOOD + b"\n" + GOOD)
    assert [number for number, _ in read_rows(str(path))] == [1, 3]


BROKEN: dict[str, tuple[str, bytes, str]] = {
    "empty": ("a.jsonl", b"", "a.jsonl: is empty"),
    "blank": ("a.jsonl", b"\n \n", "a.jsonl: has no rows"),
    "header only": ("a.csv", b"prompt,completion\n", "a.csv: has no rows"),
    "unknown ending": ("a.txt", GOOD, "a.txt: the name must end in jsonl"),
    "invalid JSON": ("a.jsonl", GOOD + b'{"prompt": "a"\n', r"a.jsonl, row 2: is not valid JSON: .* at column"),
    "not an object": ("a.jsonl", GOOD + b"[1]\n", "a.jsonl, row 2: expected a JSON object of columns, found list"),
    "two arrays": (
        "a.json",
        b"[" + GOOD + b"]\n[" + GOOD + b"]\n",
        "a.json: goes on after the ] that closes its array of 1 rows: make one array",
    ),
    "text after an array": ("a.json", b"[" + GOOD + b"] end", "a.json: goes on after the ]"),
    "wrong columns": (
        "a.jsonl",
        b'{"x": 1}\n',
        "a.jsonl, row 1: the columns x are not recognised: expected prompt/comp",
    ),
    "a column goes missing": ("a.jsonl", GOOD + b'{"prompt": "a"}\n', "a.jsonl, row 2: has no column 'completion'"),
    "latin-1": ("a.jsonl", GOOD + b'{"prompt": "\xe9"}\n', "a.jsonl, row 2: is not UTF-8 text .byte 13 .* 0xe9"),
    "utf-16": ("a.jsonl", GOOD.decode().encode("utf-16"), "a.jsonl: is UTF-16 text: save it as UTF-8"),
    "latin-1 csv": ("a.csv", b"prompt,completion\na,\xe9\n", "a.csv, row 2: is not UTF-8"),
    "no gzip": ("a.jsonl.gz", GOOD, "a.jsonl.gz: is no gzip file"),
    "cut gzip": ("a.jsonl.gz", gzip.compress(GOOD * 2000)[:-30], "a.jsonl.gz: is cut off"),
    "no parquet": ("a.parquet", GOOD, "a.parquet: is no readable parquet file"),
    "missing cell": (
        "a.csv",
        b"prompt,completion\na,b\nc\n",
        "a.csv, row 2: has 1 cells, expected 2: prompt, completion",
    ),
    "same names": ("a.csv", b"prompt,prompt\na,b\n", "a.csv: expected a header of different column names"),
    "open quote": ("a.csv", b'prompt,completion\na,"b\n', "a.csv, row 1: is not valid CSV"),
    "open array": ("a.json", b"[" + GOOD, "a.json, row 2: ends before the closing"),
    "no comma": ("a.json", b"[" + GOOD + GOOD + b"]", "a.json, row 2: is not valid JSON: expected a comma"),
    "cut array": ("a.json", b"[" + GOOD[:20], "a.json, row 1: is not valid JSON"),
    "empty completions": ("a.jsonl", b'{"prompt": "a", "completion": ""}\n', "a.jsonl: has no usable row: of 1, 0 are"),
    "deeply nested": ("a.jsonl", b"[" * 200_000 + b"\n", "a.jsonl, row 1: is not valid JSON"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_named_before_anything_is_queued(name: str, tmp_path: Path) -> None:
    file, content, says = BROKEN[name]
    path = tmp_path / file
    path.write_bytes(content)
    with pytest.raises(DataError, match=says):
        check(FileData(path=str(path)), "sft")


@pytest.mark.parametrize("read", [lambda s: check(s, "sft"), lambda s: preview(s, "sft", 3), load_demonstrations])
def test_files_that_are_not_there(read: Callable[[FileData], Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist on this machine"):
        read(FileData(path=str(tmp_path / "nothing.jsonl")))
    with pytest.raises(DataError, match="is a folder"):
        read(FileData(path=str(tmp_path)))
    with pytest.raises(DataError, match="cannot be read"):
        read(FileData(path=str(tmp_path / ("x" * 300 + ".jsonl"))))


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.json"])
def test_an_endless_line_is_refused_without_being_read(name: str, tmp_path: Path) -> None:
    """A sparse file of one 4 GB line: reading it whole would not end well."""
    path = tmp_path / name
    with path.open("wb") as stream:
        stream.write(b"[" if name == "a.json" else b"prompt,")
        stream.truncate(4 * 2**30)
    with pytest.raises(DataError, match=rf"row 1: (line is longer than {MAX_ROW_BYTES >> 20} MiB|is not valid JSON)"):
        check(FileData(path=str(path)), "sft")


@pytest.mark.parametrize("first", ["", "x" * 2**20])
def test_a_text_that_a_small_file_repeats_is_not_built_many_times_at_once(
    first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"prompt": [first, *["x" * 2**20] * 99]}), path)
    assert path.stat().st_size < 2**20
    seen: list[int] = []
    original = pq.ParquetFile.iter_batches

    def watched(self: Any, **options: Any) -> Any:
        for batch in original(self, **options):
            seen.append(batch.nbytes)
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)
    assert sum(len(row["prompt"]) for _, row in read_rows(str(path))) == len(first) + 99 * 2**20
    assert max(seen) <= (MAX_ROW_BYTES if first else parquet.MOST_ROWS * 2**20) + 1024


def test_a_row_that_is_too_long_is_named_after_short_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"prompt": ["a", "b", "x" * (MAX_ROW_BYTES + 1), "c"]}), path)
    with pytest.raises(DataError, match=r"a\.parquet, row 3: row is longer than 8 MiB"):
        list(read_rows(str(path)))


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.parquet", "a.csv"])
def test_rows_are_counted_as_far_as_time_allows(name: str, write: Write) -> None:
    path = write(name, [{"prompt": "a"}] * 5000)
    assert count_rows(path, 60.0) == 5000
    assert count_rows(path, 0.0) == (5000 if name == "a.parquet" else None)
    assert count_rows(path.replace("a.", "b."), 60.0) is None
