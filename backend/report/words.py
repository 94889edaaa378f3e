"""How a report writes numbers and settings: as the compare page does (frontend/src/format.ts), so that both can be laid side by side."""

from __future__ import annotations

import json
import math
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

NONE = "–"


def fixed(value: float, places: int) -> str:
    """
    >>> fixed(-0.0625, 3), fixed(2.0, 1)
    ('−0.063', '2.0')
    """
    return f"{Decimal(value).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP):f}".replace("-", "−")


def number(value: float | None, digits: int = 4) -> str:
    """
    >>> number(1234.0), number(0.060000001), number(1.2e-6), number(None)
    ('1,234', '0.06', '1.2e-6', '–')
    """
    if value is None or math.isnan(value):
        return NONE
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e6:
        mantissa, _, power = f"{value:.{digits - 2}e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(power)}"
    if value == int(value):
        return f"{int(value):,}"
    rounded = float(f"{value:.{digits}g}")
    return str(int(rounded)) if rounded == int(rounded) else str(rounded)


def with_error(mean: float | None, stderr: float | None) -> str:
    """The error to two digits, and the mean no finer than the error.

    >>> with_error(-17.123, 1.84), with_error(1.5, None), with_error(None, None)
    ('−17.1 ± 1.8', '1.500', '–')
    """
    if mean is None:
        return NONE
    if stderr is None or not math.isfinite(stderr):
        return fixed(mean, 3)
    places = min(6, max(0, 1 - math.floor(math.log10(stderr)))) if stderr > 0 else 3
    return f"{fixed(mean, places)} ± {fixed(stderr, places)}"


def signed(value: float) -> str:
    """
    >>> signed(0.25), signed(-1.5), signed(0)
    ('+0.250', '−1.500', '0.000')
    """
    return f"{'+' if value > 0 else '−' if value < 0 else ''}{fixed(abs(value), 3)}"


def chance(p: float | None) -> str:
    """
    >>> chance(0.0001), chance(0.5)
    ('< 0.001', '0.500')
    """
    return NONE if p is None else "< 0.001" if p < 0.001 else fixed(p, 3)


def setting(value: Any) -> str:
    """
    >>> setting(True), setting(None), setting(1e-05), setting(["a"])
    ('on', 'none', '1e-5', '["a"]')
    """
    match value:
        case bool():
            return "on" if value else "off"
        case int() | float():
            return number(value, 6)
        case None:
            return "none"
        case str():
            return value
    return json.dumps(value, ensure_ascii=False)


def counted(count: int, one: str) -> str:
    """
    >>> counted(1, "run"), counted(2, "run")
    ('1 run', '2 runs')
    """
    return f"{count:,} {one}{'' if count == 1 else 's'}"
