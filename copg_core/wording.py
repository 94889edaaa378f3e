"""Columns, values and numbers inside of what people read, however many or long they are. Torch-free."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Context, Decimal
from itertools import islice
from typing import Any

_NAMED = 20  # columns; files with a hundred thousand of them exist
_LETTERS = 80


def named(columns: Iterable[Any]) -> str:
    """The first names, and how many more there are.

    >>> named(["prompt", "chosen"])
    'prompt, chosen'
    """
    names = list(columns)
    first = ", ".join(
        f"{text[:_LETTERS]}…" if len(text) > _LETTERS else text for text in map(str, islice(names, _NAMED))
    )
    return first if len(names) <= _NAMED else f"{first} and {len(names) - _NAMED:,} more"


def brief(value: Any) -> str:
    """A value as it would be written in Python, cut in the middle where it is long."""
    if isinstance(value, int) and value.bit_length() > 128:
        return "an integer of dozens of digits"  # Python refuses to write the longest of them
    return reprlib.repr(value)


def counted(count: int, one: str) -> str:
    """
    >>> counted(1, "run"), counted(2000, "run")
    ('1 run', '2,000 runs')
    """
    return f"{count:,} {one}{'' if count == 1 else 's'}"


# Numbers as the page writes them (frontend/src/format.ts): halves are rounded away from zero, where Python would round 0.0625 to
# 0.062, and the minus is one. What a program reads, a CSV or a name, has neither.


def number(value: float, digits: int = 4) -> str:
    """Significant digits, without zeros at the end.

    >>> number(-5.6249), number(0.0625, 2), number(12345), number(-1.25e-6, 3)
    ('−5.625', '0.063', '12,345', '−1.3e−6')
    """
    if not math.isfinite(value) or value == 0:
        return _minus(f"{value:g}") if value else "0"
    exact = Decimal(value)
    if abs(value) >= 1e6 or abs(value) < 1e-3:
        return _minus(f"{_significant(exact, digits - 1):e}".replace("e+", "e"))
    return _minus(f"{exact:,.0f}" if exact == int(exact) else f"{_significant(exact, digits):f}")


def fixed(value: float, places: int = 3) -> str:
    """So many places behind the point, whatever they are.

    >>> fixed(-1.5), fixed(0.0625), fixed(2.5, 0)
    ('−1.500', '0.063', '3')
    """
    if not math.isfinite(value) or abs(value) >= 1e21:
        return number(value)
    return _minus(f"{Decimal(value).quantize(Decimal(1).scaleb(-places), context=_EXACT):f}")


def with_error(mean: float, error: float | None) -> str:
    """The error to two digits, and the mean no finer than the error.

    >>> with_error(-17.0812, 1.787), with_error(1.23456, 0.03456), with_error(1.0, None)
    ('−17.1 ± 1.8', '1.235 ± 0.035', '1.000')
    """
    if error is None or not math.isfinite(error):
        return fixed(mean)
    return f"{fixed(mean, places_of(error))} ± {fixed(error, places_of(error))}"


def places_of(error: float | None) -> int:
    """How many places behind the point show two digits of an error; three where there is none.

    >>> places_of(0.03456), places_of(17.0), places_of(0.00004), places_of(0.0)
    (3, 0, 6, 3)
    """
    return min(6, max(0, 1 - math.floor(math.log10(error)))) if error is not None and error > 0 else 3


_EXACT = Context(prec=60, rounding=ROUND_HALF_UP)


def _significant(exact: Decimal, digits: int) -> Decimal:
    return Context(prec=digits, rounding=ROUND_HALF_UP).plus(exact).normalize()


def _minus(text: str) -> str:
    return text.replace("-", "−")
