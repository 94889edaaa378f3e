"""Hostile and broken files: no crash, no answer of 500 or more, a clear sentence with file and row, bounded memory."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from copg_core.datasets import check, preview
from copg_core.datasets.analysis import analyse
from copg_core.datasets.files import MAX_BLANK_LINES
from copg_core.errors import DataError
from copg_core.sources import FileData
from tests.backend.studio_bench import API, COPG, LOCAL, Bench
from tests.backend.upload_bench import PAIRS, analysed, lines, upload, zipped

GOOD = lines(PAIRS)
MB = 2**20


def parquet(columns: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


PARQUET = parquet({"prompt": ["a", "b"], "chosen": ["c", "d"], "rejected": ["e", "f"]})


def lying_footer() -> bytes:
    """A footer that claims to be longer than any file."""
    return PARQUET[:-8] + (2**31 - 1).to_bytes(4, "little") + b"PAR1"


def row(**values: Any) -> bytes:
    return json.dumps({"prompt": "a", "completion_1": "b", "completion_2": "c", **values}).encode() + b"\n"


# name -> file name, bytes, what the reason says
BROKEN: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "cut gzip": ("a.jsonl.gz", lambda: zipped(PAIRS * 50)[:-20], "a.jsonl.gz: is cut off"),
    "gzip with a wrong end": ("a.jsonl.gz", lambda: zipped(PAIRS) + b"garbage", "a.jsonl.gz: is no gzip file"),
    "gzip of nothing": ("a.csv.gz", lambda: gzip.compress(b""), "a.csv.gz: has no rows"),
    "gzip bomb of one line": ("a.jsonl.gz", lambda: gzip.compress(b"{" + b" " * 60 * MB), "row 1: line is longer than"),
    "gzip bomb of blank lines": ("a.jsonl.gz", lambda: gzip.compress(GOOD + b"\n" * (MAX_BLANK_LINES + 9)), "blank lines"),
    "gzip bomb of white space": ("a.json.gz", lambda: gzip.compress(b"[" + b" " * 30 * MB), "white space between"),
    "gzip bomb of a quote": ("a.csv.gz", lambda: gzip.compress(b'a,b\n"' + b"x,\n" * 10 * MB), "row 1: is not valid CSV"),
    "UTF-16": ("a.jsonl", lambda: GOOD.decode().encode("utf-16"), "a.jsonl: is UTF-16 text: save it as UTF-8"),
    "UTF-16 without a mark": ("a.csv", lambda: "prompt,completion\na,b\n".encode("utf-16-le"), "row 1: holds NUL bytes"),
    "latin-1": ("a.jsonl", lambda: GOOD + '{"prompt": "é"}\n'.encode("latin-1"), "a.jsonl, row 21: is not UTF-8 text"),
    "NUL bytes": ("a.csv", lambda: b"prompt,completion\na,b\0\n", "row 2: holds NUL bytes"),
    "half a character": ("a.jsonl", lambda: GOOD + row(prompt="\ud83d"), "row 21: holds \\ud83d, which is half of a char"),
    "half in an array": ("a.json", lambda: b"[" + row(prompt="\udc00") + b"]", "row 1: holds \\udc00"),
    "a name of half a character": ("a.jsonl", lambda: b'{"\\ud800": 1}\n', "row 1: holds \\ud800"),
    "nothing but blank lines": ("a.jsonl", lambda: b"\n \n\t\n", "a.jsonl: has no rows"),
    "an empty array": ("a.json", lambda: b"[]", "a.json: has no rows"),
    "a quote that is left open": ("a.csv", lambda: b'prompt,completion\n"' + b"x\n" * 5 * MB, "is a quote left open?"),
    "the same column twice": ("a.csv", lambda: b"prompt,prompt\na,b\n", "a.csv: expected a header of different column"),
    "100,000 columns": ("a.csv", lambda: b",".join(b"c%d" % i for i in range(100_000)) + b"\n1\n", "and 99,980 more"),
    "columns without meaning": ("a.csv", lambda: b",".join(b"c%d" % i for i in range(300)) + b"\n" + b"," * 299 + b"\n",
                                "and 280 more are not recognised"),
    "a long name": ("a.jsonl", lambda: json.dumps({"x" * MB: 1}).encode(), "…"),
    "deep nesting": ("a.jsonl", lambda: b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "row 1: is not valid JSON"),
    "deep objects": ("a.json", lambda: b'[{"a": ' * 50_000, "is not valid JSON"),
    "a huge number": ("a.jsonl", lambda: b'{"prompt": "a", "x": ' + b"9" * 10_000 + b"}\n", "row 1: is not valid JSON: a number"),
    "a huge number in an array": ("a.json", lambda: b'[{"x": ' + b"9" * 10_000 + b"}]", "a number has too many digits"),
    "a reward beyond numbers": ("a.jsonl", lambda: row(reward_1=10**400, reward_2=0), "row 1: column 'reward_1' holds an integer"),
    "a reward that is none": ("a.jsonl", lambda: row(reward_1=float("nan"), reward_2=0), "row 1: column 'reward_1' holds nan"),
    "an infinite reward": ("a.csv", lambda: b"prompt,completion_1,completion_2,reward_1,reward_2\na,b,c,1e999,0\n", "finite"),
    "a reward of text": ("a.jsonl", lambda: row(reward_1="x" * MB, reward_2=0), "expected a number"),
    "text that is a list": ("a.jsonl", lambda: row(completion_1=[1]), "row 1: column 'completion_1' holds a list"),
    "no parquet": ("a.parquet", lambda: b"PAR1" + b"x" * 100 + b"PAR1", "a.parquet: is no readable parquet file"),
    "a lying footer": ("a.parquet", lying_footer, "a.parquet: is no readable parquet file"),
    "damaged pages": ("a.parquet", lambda: PARQUET[:40] + bytes(60) + PARQUET[100:], "a.parquet"),
    "nested parquet": ("a.parquet", lambda: parquet({"prompt": [[{"x": [1]}]], "completion": ["a"]}), "row 1: column 'prompt' holds a list"),
    "parquet without columns": ("a.parquet", lambda: parquet({}), "a.parquet"),
    "parquet of bytes": ("a.parquet", lambda: parquet({"prompt": pa.array([b"\xff"]).cast(pa.binary()), "completion": ["a"]}), "ready"),
    "parquet under another name": ("a.csv", lambda: PARQUET, "a.csv, row"),
    "a picture": ("a.jsonl", lambda: b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "a.jsonl, row 1"),
}  # fmt: skip


@pytest.fixture
def sqlite_bench(sqlite_url: str, tmp_path: Path) -> Any:
    """The application over SQLite alone: what is fuzzed here is files, not databases."""
    from fastapi.testclient import TestClient

    from backend.database import Database
    from backend.main import create_app
    from backend.settings import Settings

    given_settings = Settings(data_dir=str(tmp_path / "data"), database_url=sqlite_url)
    database = Database(sqlite_url)
    with TestClient(create_app(given_settings), LOCAL, raise_server_exceptions=False) as client:
        yield Bench(client, database, given_settings)
    database.close()


@pytest.mark.parametrize("part", range(5))
def test_broken_files_are_uploaded_and_told_what_is_wrong(part: int, sqlite_bench: Bench) -> None:
    """Each waits for its own reader process. A reason names the file as the person did, and no folder of ours."""
    bench = sqlite_bench
    broken = dict(list(BROKEN.items())[part::5])
    made = {
        name: upload(bench, content(), f"{index}-{file}")["id"]
        for index, (name, (file, content, _)) in enumerate(broken.items())
    }
    wrong = []
    for name, (file, _, says) in broken.items():
        seen = analysed(bench, made[name], seconds=240)
        reason = seen["error"] or seen["state"]
        if says.replace(file, "") not in reason.replace(seen["file_name"], "") or len(reason) > 2000:
            wrong.append((name, reason[:300]))
        if str(bench.settings.data_path) in reason or seen["state"] not in ("unreadable", "ready"):
            wrong.append((name, seen))
        if seen["state"] == "unreadable":
            config = {**COPG, "data": seen["source"], "reward": {"kind": "data"}}
            for path, body in (("/runs", {"config": config}), ("/datasets/preview", {"source": seen["source"]})):
                answer = bench.client.post(f"{API}{path}", json=body)
                if answer.status_code != 422:
                    wrong.append((name, f"{path}: {answer.status_code} {answer.text[:200]}"))
    assert wrong == []
    assert bench.get("/health")["status"] in ("ok", "degraded")


FORMATS = st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.tsv", "a.jsonl.gz", "a.csv.gz", "a.parquet"])
SEEDS = st.sampled_from([GOOD[:600], zipped(PAIRS), PARQUET, b'prompt,completion\n"a","b"\n', b'[{"prompt": "a"}]'])


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good file with some bytes cut out, changed or put in."""
    content = bytearray(draw(SEEDS))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        match draw(st.integers(0, 2)):
            case 0:
                del content[at : at + draw(st.integers(1, 40))]
            case 1:
                content[at : at + 1] = draw(st.binary(min_size=1, max_size=4))
            case _:
                content[at:at] = draw(st.binary(max_size=20))
    return bytes(content)


@given(FORMATS, damaged() | st.binary(max_size=300))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_file_holds_it_is_read_or_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    source = FileData(path=str(path))
    for look in (lambda: analyse(source).report, lambda: check(source, "sft"), lambda: preview(source, "copg", 5)):
        try:
            seen = look()
        except DataError as error:
            said = str(error)
        else:
            said = f"{path} is read" + json.dumps(seen if isinstance(seen, dict) else None, allow_nan=False)[:9]
        assert str(path) in said
        assert len(said) < 3000


PEAK = """
import resource, sys
from copg_core.datasets import analysis
from copg_core.errors import DataError
from copg_core.sources import FileData
import numpy, pyarrow.parquet
baseline = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    report = analysis.analyse(FileData(path=sys.argv[1])).report
    said = f"{report['usable']} rows"
except DataError as error:
    said = str(error)[-150:]
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - baseline) // 1024, said)
"""

BIG: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a line of 200 MB": ("a.jsonl", lambda: b'{"prompt": "' + b"x" * 200 * MB + b'"}\n'),
    "a line of 200 MB, zipped": ("a.jsonl.gz", lambda: gzip.compress(b'{"prompt": "' + b"x" * 200 * MB, compresslevel=1)),
    "a cell of 200 MB": ("a.csv", lambda: b"prompt,completion\n" + b"x" * 200 * MB + b",b\n"),
    "an array of 200 MB": ("a.json", lambda: b'[{"prompt": "' + b"x" * 200 * MB),
    "lists in lists": ("a.jsonl", lambda: b'{"prompt": "a", "completion": "b", "x": [' + b"[]," * (2 * MB) + b"[]]}\n"),
    "many rows in a quote": ("a.csv", lambda: b'prompt,completion\n"' + b'a","\n' * 20 * MB),
    "a long text again and again": ("a.parquet", lambda: parquet(
        {"prompt": pa.DictionaryArray.from_arrays(pa.array([0] * 300, pa.int32()), ["x" * MB]), "completion": ["b"] * 300})),
}  # fmt: skip


@pytest.mark.parametrize("name", BIG)
def test_memory_is_bounded(name: str, tmp_path: Path) -> None:
    file, content = BIG[name]
    path = tmp_path / file
    path.write_bytes(content())
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True, env=dict(os.environ)
    )  # fmt: skip
    megabytes, _, said = done.stdout.partition(" ")
    assert int(megabytes) < 300, done.stdout
    assert "row" in said
