"""ETag and If-Match: who changes something may say what it looked like, and is told where somebody else was quicker.

A tag stands for what people edit, not for what a worker reports: a run that trains keeps its tag.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any

from fastapi import Header

from backend.errors import Invalid, PreconditionFailed

IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=400,
        description="The ETag of the answer that the change was made from, or *. Where somebody has edited it since: 412.",
        examples=['"3"'],
    ),
]
_TAG = re.compile(r'(?:W/)?"([^"]*)"')


def tag_of(*values: Any) -> str:
    """An ETag for the things that people can edit, where nothing counts their edits."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)
    return quoted(hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16])


def quoted(version: object) -> str:
    """A version as it stands in the header.

    >>> quoted(3)
    '"3"'
    """
    return f'"{version}"'


def names(if_match: str | None) -> list[str] | None:
    """The versions in an If-Match header; None where it is absent or `*`. Proxies that compress mark tags as weak (`W/`),
    which is no reason to refuse them. Raises Invalid."""
    if if_match is None or if_match.strip() == "*":
        return None
    found = _TAG.findall(if_match)
    if not found:
        raise Invalid.field("If-Match", "send the ETag of an earlier answer as it came, in its double quotes, or *")
    return found


def check(if_match: str | None, tag: str, what: str) -> None:
    """Raises PreconditionFailed where a header names other versions than the present one."""
    wanted = names(if_match)
    if wanted is not None and tag.strip('"') not in wanted:
        raise PreconditionFailed(f"{what} was changed after you read it: read it again, then decide")
