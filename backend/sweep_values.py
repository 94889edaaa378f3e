"""Values of a swept field as a person types them: `0.01, 0.03, 0.1`, `log 0.003..0.3 x 6`, `0..1 x 5`, `1..4`, `true, false`."""

from __future__ import annotations

import json
import math
import re
from typing import Any

MOST_VALUES = 1000
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?"
_RANGE = re.compile(
    rf"(?P<kind>log|lin|linear)?\s*(?P<first>{_NUMBER})\s*\.\.\s*(?P<last>{_NUMBER})(?:\s*[x×]\s*(?P<count>\d{{1,6}}))?",
    re.IGNORECASE,
)


def parse_values(text: str) -> list[Any]:
    """The values that a text stands for. Raises ValueError with a sentence.

    `log A..B x N`: N values with equal ratios, to three digits where that tells them apart. `A..B x N`: equal distances.
    `A..B` with whole numbers: each of them. Otherwise a list with commas; what is no JSON is a word.

    >>> parse_values("0.01, 0.03"), parse_values("log 0.003..0.3 x 3"), parse_values("0..1 x 3"), parse_values("1..3")
    ([0.01, 0.03], [0.003, 0.03, 0.3], [0, 0.5, 1], [1, 2, 3])
    >>> parse_values("constant, cosine, null, 1e-5")
    ['constant', 'cosine', None, 1e-05]
    """
    stripped = text.strip()
    if match := _RANGE.fullmatch(stripped):
        return _spaced(match["kind"], match["first"], match["last"], match["count"])
    if ".." in stripped and "," not in stripped and not stripped.startswith(('"', "[", "{")):
        raise ValueError(f"{stripped!r} is no range: write `log 0.003..0.3 x 6`, `0..1 x 5` or `1..4`")
    values = _listed(stripped)
    if not values:
        raise ValueError("no value is given: write for example `0.01, 0.03, 0.1` or `log 0.003..0.3 x 6`")
    if len(values) > MOST_VALUES:
        raise ValueError(f"these are {len(values)} values: at most {MOST_VALUES} for one field")
    return values


def _spaced(kind: str | None, first_text: str, last_text: str, count_text: str | None) -> list[Any]:
    first, last = _number(first_text), _number(last_text)
    logarithmic = kind is not None and kind.lower() == "log"
    if count_text is None:
        if logarithmic or not (isinstance(first, int) and isinstance(last, int)):
            raise ValueError("say how many values: for example `log 0.003..0.3 x 6`")
        if abs(last - first) >= MOST_VALUES:
            raise ValueError(f"these are {abs(last - first) + 1} values: at most {MOST_VALUES} for one field")
        step = 1 if last >= first else -1
        return list(range(first, last + step, step))
    count = int(count_text)
    if not 2 <= count <= MOST_VALUES:
        raise ValueError(f"a range has 2 to {MOST_VALUES} values, not {count}")
    if logarithmic and not (first > 0 and last > 0):
        raise ValueError("a logarithmic range needs two numbers above 0")
    shares = [index / (count - 1) for index in range(1, count - 1)]
    if logarithmic:
        exact = [math.exp(math.log(first) + share * (math.log(last) - math.log(first))) for share in shares]
    else:
        exact = [first + share * (last - first) for share in shares]
    digits = 3 if logarithmic and len({f"{value:.3g}" for value in exact}) == len(exact) else 6
    return [first, *(_plain(float(f"{value:.{digits}g}")) for value in exact), last]


def _number(text: str) -> int | float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large a number")
    return int(text) if re.fullmatch(r"[+-]?\d+", text) else number


def _plain(value: float) -> int | float:
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _listed(text: str) -> list[Any]:
    try:
        found = json.loads(f"[{text}]", parse_constant=_refuse)
    except (ValueError, RecursionError):
        return [_item(part.strip()) for part in text.split(",") if part.strip()]
    return list(found)


def _item(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number that a setting can have")
