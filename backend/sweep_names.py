"""What a run of a sweep is called: what it trains, and what sets it apart from the others."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from copg_core.config import RunConfig, variant_of

_SAID = re.compile(
    r"(algorithm|beta|normalisation|baseline|group|sampling\..*)$"
)  # by a name's first words: `variant_of`
_MOST_LETTERS = 40  # of one value


def varying(overrides: Iterable[Mapping[str, Any]]) -> list[str]:
    """The fields that differ between runs, in the order in which they were given. One that some runs leave alone differs."""
    rows = list(overrides)
    paths = list(dict.fromkeys(path for row in rows for path in row))
    missing = object()
    return [path for path in paths if len({_key(row.get(path, missing)) for row in rows}) > 1]


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list | str | bool | int | float | None) else ""


def labels(paths: Sequence[str]) -> dict[str, str]:
    """A short word for each path: its last part, or the whole where two end alike. A `kind` is called by what it is of.

    >>> labels(["optimizer.learning_rate", "seed", "reward.kind", "reward.name"])
    {'optimizer.learning_rate': 'learning rate', 'seed': 'seed', 'reward.kind': 'reward', 'reward.name': 'reward name'}
    """
    short = {path: _short(path) for path in paths}
    ends = Counter(short.values())
    return {path: (end if ends[end] == 1 else path).replace("_", " ") for path, end in short.items()}


def _short(path: str) -> str:
    before, _, last = path.rpartition(".")
    if before and last in {"kind", "name"}:
        of_what = before.rpartition(".")[2]
        return of_what if last == "kind" else f"{of_what} {last}"
    return last


def worded(path: str, value: Any, named: Mapping[str, str]) -> str:
    """A setting in a few letters, under its word from `labels`; a name speaks for itself, and what is empty is not said.

    >>> worded("reward.options.target", 20, {"reward.options.target": "target"}), worded("reward.name", "length", {})
    ('target 20', 'length')
    """
    said = written(value)
    return said if path.endswith(".name") or not said else f"{named[path]} {said}"


def name_of(config: RunConfig, overrides: Mapping[str, Any], differing: Sequence[str]) -> str:
    """`copg β=0.03 seed 1`: the algorithm, its beta, and the values of the differing fields that this run names."""
    words = [config.algorithm, variant_of(config.model_dump(mode="json"))]
    beta = getattr(config, "beta", None)
    if beta is not None:
        words.append(f"β={beta:g}")
    named = labels(differing)
    told = [path for path in differing if path in overrides and path not in {"beta", "algorithm"}]
    words += [worded(path, overrides[path], named) for path in told]
    return " ".join(filter(None, words))[:200]


def of_bases(bases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each base, by dotted paths, what sets it apart from others of its algorithm; no override of a run tells it.

    >>> of_bases([{"algorithm": "copg", "steps": 1}, {"algorithm": "copg", "steps": 2}, {"algorithm": "dpo", "steps": 3}])
    [{'steps': 1}, {'steps': 2}, {}]
    """
    peers: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for base in bases:
        peers[base.get("algorithm")].append(base)
    apart = {algorithm: [path for path in varying(some) if not _SAID.match(path)] for algorithm, some in peers.items()}
    return [{path: base[path] for path in apart[base.get("algorithm")] if path in base} for base in bases]


def written(value: Any) -> str:
    """A value in a few letters.

    >>> written(1e-05), written(True), written("cosine"), written({"kind": "run", "run": "abc"})
    ('1e-05', 'on', 'cosine', 'run abc')
    """
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return _short_text(" ".join(filter(None, map(written, value.values()))))
    return _short_text(value if isinstance(value, str) else json.dumps(value))


def _short_text(text: str) -> str:
    """Its beginning and, which tells paths apart, more of its end."""
    return text if len(text) <= _MOST_LETTERS else f"{text[:12]}…{text[13 - _MOST_LETTERS :]}"


def sweep_name(algorithms: Sequence[str], differing: Sequence[str], count: int) -> str:
    """What a sweep is called that nobody named: `copg, dpo over beta, seed (12 runs)`."""
    which = ", ".join(dict.fromkeys(algorithms))
    over = ", ".join(labels(differing).values())
    return f"{which}{f' over {over}' if over else ''} ({count} run{'' if count == 1 else 's'})"[:200]
