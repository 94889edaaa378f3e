"""How a report writes numbers and settings: as the compare page does (frontend/src/format.ts), so that both can be laid side by side."""

from __future__ import annotations

import json
from typing import Any

from copg_core import wording

NONE = "–"


def number(value: float | None, digits: int = 4) -> str:
    """
    >>> number(0.060000001), number(None)
    ('0.06', '–')
    >>> number(0.123456, 3)
    '0.123'
    """
    return NONE if value is None else wording.number(value, digits)


def with_error(mean: float | None, stderr: float | None) -> str:
    """The error to two digits, and the mean no finer than the error.

    >>> with_error(-17.123, 1.84), with_error(None, None)
    ('−17.1 ± 1.8', '–')
    """
    return NONE if mean is None else wording.with_error(mean, stderr)


def difference(mean: float, low: float | None, high: float | None) -> str:
    """With its interval, no finer than that is wide.

    >>> difference(0.0004, 0.0003, 0.0005), difference(-1.5, None, None), difference(12.25, 10.04, 14.46)
    ('+0.00040 [+0.00030, +0.00050]', '−1.500', '+12.3 [+10.0, +14.5]')
    """
    if low is None or high is None:
        return _signed(mean, 3)
    places = wording.places_of((high - low) / 2)
    return f"{_signed(mean, places)} [{_signed(low, places)}, {_signed(high, places)}]"


def _signed(value: float, places: int) -> str:
    return f"{'+' if value > 0 else '−' if value < 0 else ''}{wording.fixed(abs(value), places)}"


def chance(p: float | None) -> str:
    """
    >>> chance(0.0001), chance(0.5)
    ('< 0.001', '0.500')
    """
    return NONE if p is None else "< 0.001" if p < 0.001 else wording.fixed(p)


def setting(value: Any) -> str:
    """
    >>> setting(True), setting(None), setting(1e-05), setting(["a"])
    ('on', 'none', '1e−5', '["a"]')
    """
    match value:
        case bool():
            return "on" if value else "off"
        case int() | float():
            return wording.number(value, 6)
        case None:
            return "none"
        case str():
            return value
    return json.dumps(value, ensure_ascii=False)
