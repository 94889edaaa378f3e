"""Cursors: where a list goes on, as an opaque word that survives inserts and deletes before it."""

from __future__ import annotations

import base64
import binascii
import json
import math
from typing import Annotated, Any

from fastapi import Query
from sqlalchemy import ColumnElement, and_, or_
from sqlalchemy.orm import InstrumentedAttribute

from backend.errors import Invalid

Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.")]


def pack(*key: Any) -> str:
    """A cursor after the row with this sort key."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def unpack(cursor: str, length: int) -> list[Any]:
    """The sort key in a cursor. Raises Invalid where it was not made by `pack`."""
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError):
        key = None
    if not isinstance(key, list) or len(key) != length or not all(
        item is None or isinstance(item, str | float) or (isinstance(item, int) and abs(item) < 2**53) for item in key
    ):  # fmt: skip
        raise Invalid.field("cursor", "this is not a cursor that a list has given out")
    return key


def unpack_numbers(cursor: str, length: int) -> list[Any]:
    """The same for keys that are numbers: a word in their place would not be compared but refused by PostgreSQL."""
    key = unpack(cursor, length)
    if not all(isinstance(item, int | float) and not isinstance(item, bool) and math.isfinite(item) for item in key):
        raise Invalid.field("cursor", "this is not a cursor that a list has given out")
    return key


def rows_after(
    column: ColumnElement[Any] | InstrumentedAttribute[Any],
    identity: InstrumentedAttribute[int],
    value: Any,
    last: int,
    *,
    descending: bool,
) -> ColumnElement[bool]:
    """Condition for the rows after (`value`, `last`) in the order `column, identity`, with NULLs at the end."""
    further = identity < last if descending else identity > last
    if value is None:
        return and_(column.is_(None), further)
    beyond = column < value if descending else column > value
    if column is identity or not getattr(column, "nullable", True):
        return or_(beyond, and_(column == value, further))
    return or_(beyond, and_(column == value, further), column.is_(None))
