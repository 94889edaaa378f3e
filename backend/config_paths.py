"""Which fields a configuration can have, by dotted path, and what stands in them: read from the algorithms' JSON Schemas."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from copg_core.config import CONFIGS

NUMBER, TEXT, BOOLEAN = "number", "text", "boolean"
_KINDS = {"integer": NUMBER, "number": NUMBER, "string": TEXT, "boolean": BOOLEAN}
_DEEPEST = 12  # sums of rewards may hold sums


@dataclass(frozen=True)
class Paths:
    """`kinds`: path -> kinds of its value; `open`: paths below which a user chooses the names; `sections`: all others
    that hold fields. A number in a list's path stands as `0`."""

    kinds: dict[str, frozenset[str]]
    open: frozenset[str]
    sections: frozenset[str]


@cache
def config_paths() -> Paths:
    """Every path of every algorithm's configuration, each beginning with `config.`."""
    kinds: dict[str, set[str]] = {}
    free: set[str] = set()
    sections: set[str] = set()

    def walk(node: dict[str, Any], definitions: dict[str, Any], path: str, seen: tuple[str, ...]) -> None:
        if reference := node.get("$ref"):
            if reference in seen or path.count(".") > _DEEPEST:
                return
            walk(definitions[reference.rsplit("/", 1)[1]], definitions, path, (*seen, reference))
            return
        for branch in (*node.get("anyOf", ()), *node.get("oneOf", ()), *node.get("allOf", ())):
            walk(branch, definitions, path, seen)
        if properties := node.get("properties"):
            sections.add(path)
            for name, inner in properties.items():
                walk(inner, definitions, f"{path}.{name}", seen)
        elif isinstance(node.get("additionalProperties"), dict):
            free.add(path)
        elif node.get("type") == "array":
            item = node.get("items", {})
            nested = "$ref" in item or "properties" in item or item.get("type") == "array"
            walk(item, definitions, f"{path}.0" if nested else path, seen)
        elif kind := _KINDS.get(str(node.get("type"))):
            kinds.setdefault(path, set()).add(kind)
        elif "enum" in node or "const" in node:
            values = node.get("enum", [node.get("const")])
            kinds.setdefault(path, set()).update(TEXT if isinstance(value, str) else NUMBER for value in values)

    for config in CONFIGS.values():
        schema = config.model_json_schema()
        walk(schema, schema.get("$defs", {}), "config", ())
    return Paths({path: frozenset(found) for path, found in kinds.items()}, frozenset(free), frozenset(sections))
