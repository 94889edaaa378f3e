"""Columns and values inside of messages, however many or long they are. Torch-free."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
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
