"""Uploads as tests make them, and the wait for their analysis."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Sequence
from typing import Any

from tests.backend.studio_bench import API, Bench

PAIRS = [{"prompt": f"p{i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(20)]


def lines(rows: Sequence[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def zipped(rows: Sequence[dict[str, Any]]) -> bytes:
    return gzip.compress(lines(rows), mtime=0)


def upload(bench: Bench, content: bytes, filename: str = "pairs.jsonl", status: int = 201, **query: str) -> Any:
    """The answer to an upload."""
    answer = bench.client.post(
        f"{API}/datasets/upload", params={"filename": filename, **query}, content=content
    )  # fmt: skip
    assert answer.status_code == status, answer.text
    return answer.json()


def analysed(bench: Bench, uid: str, seconds: float = 60) -> Any:
    """The data set, once nobody looks at it any more."""
    deadline = time.monotonic() + seconds
    while (seen := bench.get(f"/datasets/{uid}"))["state"] == "analysing":
        assert time.monotonic() < deadline, seen
        time.sleep(0.05)
    return seen
