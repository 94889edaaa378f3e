"""Reads one cell of a record as text, completion or number, or says what is wrong with it. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from copg_core.datasets.turns import is_messages, split_messages
from copg_core.errors import DataError
from copg_core.wording import brief, named

Record = Mapping[str, Any]


def text_of(record: Record, column: str) -> str:
    value = value_of(record, column)
    if value is None:
        return ""
    if isinstance(value, dict | list):
        raise DataError(f"column {column!r} holds a {type(value).__name__}, expected text")
    return str(value)


def value_of(record: Record, column: str) -> Any:
    try:
        return record[column]
    except KeyError:
        raise DataError(f"has no column {column!r}; it has {named(record)}") from None


def completion_of(record: Record, column: str) -> str:
    """Text, or the assistant's last message of a list."""
    value = value_of(record, column)
    return split_messages(value)[1] if is_messages(value) else text_of(record, column)


def number_of(record: Record, column: str) -> float | None:
    value = value_of(record, column)
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):  # the last: an integer of hundreds of digits
        raise DataError(f"column {column!r} holds {brief(value)}, expected a number") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise DataError(f"column {column!r} holds {brief(value)}, expected a finite number")
    return number
