"""What a viewer of a figure lacks: how each curve goes on, where everything before that is as it was.

A curve may change at its last point (a mean that waits for a seed, a mark at the end), so a viewer keeps all points but the last one;
of a smoothed curve as many may change as its `meta.open` says.
The cursor tells how many those are and has a digest of them and of all that is no point. Nothing is remembered about
viewers: a figure that is drawn anew is the same as theirs exactly where the digests agree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

PATTERN = r"^[0-9a-f]{16}(\.[0-9]{1,6})*$"
_PER_POINT = ("x", "y", "customdata")


def cursor(figure: dict[str, Any]) -> str:
    """Of a figure as plotly.js takes it: a digest, and for each trace how many of its points will stay."""
    return _cursor(figure, [max(0, len(trace.get("x") or ()) - _open(trace)) for trace in figure["data"]])


def after(figure: dict[str, Any], known: str) -> list[dict[str, Any]] | None:
    """For each trace `start` and the arrays that go on from there; None where the viewer must take the whole figure."""
    counts = [int(count) for count in known.split(".")[1:]]
    if len(counts) != len(figure["data"]) or _cursor(figure, counts) != known:
        return None
    return [
        {"start": count, "arrays": {name: array[count:] for name, array in _arrays(trace)}}
        for trace, count in zip(figure["data"], counts, strict=True)
    ]


def _open(trace: dict[str, Any]) -> int:
    return int((trace.get("meta") or {}).get("open", 1))


def _cursor(figure: dict[str, Any], counts: Sequence[int]) -> str:
    kept = {**figure, "data": [_cut(trace, count) for trace, count in zip(figure["data"], counts, strict=True)]}
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]
    return ".".join([digest, *map(str, counts)])


def _arrays(trace: dict[str, Any]) -> list[tuple[str, list[Any]]]:
    """What has one value for each point, by its name."""
    n = len(trace.get("x") or ())
    return [(name, value) for name in _PER_POINT if isinstance(value := trace.get(name), list) and len(value) == n]


def _cut(trace: dict[str, Any], count: int) -> dict[str, Any]:
    return {**trace, **{name: array[:count] for name, array in _arrays(trace)}}
