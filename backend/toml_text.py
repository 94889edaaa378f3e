"""A configuration as the TOML that `copg train` reads. Python's standard library reads TOML, but does not write it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def comment(text: str) -> str:
    """A line that says `text`. What TOML allows in no comment, and no reader sees, is left out.

    >>> comment("a\\x07b\\nc")
    '# ab c'
    """
    return "# " + " ".join("".join(one for one in text if one.isprintable() or one.isspace()).split())


def dump(values: Mapping[str, Any]) -> str:
    """Simple values first, then one table for each nested one; whatever is deeper stands inline. None is left out.

    >>> print(dump({"beta": 0.1, "data": {"kind": "task", "where": {"split": ["train"]}}, "steps": None}), end="")
    beta = 0.1
    <BLANKLINE>
    [data]
    kind = "task"
    where = {split = ["train"]}
    """
    present = {key: value for key, value in values.items() if value is not None}
    lines = [f"{_key(key)} = {_inline(value)}" for key, value in present.items() if not isinstance(value, Mapping)]
    for key, table in present.items():
        if isinstance(table, Mapping):
            lines += ["", f"[{_key(key)}]"]
            lines += [f"{_key(name)} = {_inline(value)}" for name, value in table.items() if value is not None]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _string(name)


def _string(text: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which TOML wants escaped, and surrogate pairs, which it does not know.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _inline(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            text = repr(value)
            return text if any(mark in text for mark in ".en") else f"{text}.0"
        case Mapping():
            inner = ", ".join(f"{_key(key)} = {_inline(item)}" for key, item in value.items() if item is not None)
            return "{" + inner + "}"
        case list() | tuple():
            return "[" + ", ".join(_inline(item) for item in value) + "]"
    return _string(str(value))
