"""The grammar of filters: `field operator value`, for example `config.beta>=0.03`, `state=failed,cancelled`, `name~"paper"`.

    =  !=         is, is none of; several values are separated by commas
    <  <=  >  >=  numbers and times
    ~             contains, whatever the case; texts only

A value in double quotes is taken literally (JSON): `name="null"`, `config.data.path="a,b"`. Without quotes `null` means
that there is no value. Times are RFC 3339, `2026-11-25` or `2026-11-25T08:30:00Z`.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime

OPERATORS = ("<=", ">=", "!=", "=", "<", ">", "~")
_CONDITION = re.compile(r"\s*(?P<field>[^\s=!<>~]+)\s*(?P<operator><=|>=|!=|=|<|>|~)\s*(?P<value>.*?)\s*\Z", re.DOTALL)


class ConditionError(ValueError):
    """A condition that cannot be understood; the message says what would be."""


@dataclass(frozen=True)
class Condition:
    """One condition as written; `values` holds None for a bare `null`."""

    field: str
    operator: str
    values: tuple[str | None, ...]


def parse(written: str) -> Condition:
    """A condition. Raises ConditionError.

    >>> parse("config.beta >= 0.03")
    Condition(field='config.beta', operator='>=', values=('0.03',))
    >>> parse('state!=failed,cancelled').values, parse('name="a,b"').values, parse("beta=null").values
    (('failed', 'cancelled'), ('a,b',), (None,))
    """
    match = _CONDITION.match(written)
    if match is None:
        raise ConditionError(
            f"{written!r} is no condition: write a field, an operator ({' '.join(OPERATORS)}) and a value, "
            "for example config.beta>=0.03"
        )
    field, operator, value = match["field"], match["operator"], match["value"]
    if not value:
        raise ConditionError(f'{written!r} has no value; write {field}="" for an empty text, {field}=null for none')
    values = _values(value) if operator in {"=", "!="} else (_single(value),)
    if operator not in {"=", "!="} and values[0] is None:
        raise ConditionError(f"{written!r}: null can only be compared with = and !=")
    return Condition(field, operator, values)


def _values(value: str) -> tuple[str | None, ...]:
    if value.startswith('"'):
        return (_single(value),)
    return tuple(_single(part.strip()) for part in value.split(","))


def _single(value: str) -> str | None:
    if value == "null":
        return None
    if value.startswith('"'):
        try:
            literal = json.loads(value)
        except ValueError as error:
            raise ConditionError(f"{value} is no text in double quotes: {error}") from error
        if not isinstance(literal, str) or not _encodable(literal):
            raise ConditionError(f"{value} is no text in double quotes")
        return literal
    return value


def _encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def number(value: str) -> float | None:
    """A value as a finite number, or None. `1_000` and `nan` are no numbers here."""
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", value, re.ASCII):
        return None
    found = float(value)
    return found if math.isfinite(found) else None


def moment(value: str) -> float | None:
    """A value as a time in seconds since 1970, or None. Without an offset it is UTC."""
    try:
        found = datetime.fromisoformat(value)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
