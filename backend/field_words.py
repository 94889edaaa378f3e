"""Pydantic's errors as fields and sentences, in words that say what to do: a pattern in people's language, and for an unknown
field the names that it might be meant to have."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from backend.schemas.body import NUL
from backend.schemas.problems import FieldError
from copg_core.config import RunConfig

SHAPES = {
    r"^[\w.+:/-]+$": "a tag is one word: letters, digits and . + : / _ - without spaces, as in `paper` or `beta/0.1`",
    r"^[\w.-]+$": "a name has letters, digits, dots, dashes and underscores only",
    r"^\w[\w.-]*(/\w[\w.-]*)?$": "an id of the hub is `owner/name` or `name`, as in `Qwen/Qwen3-0.6B`",
    r"^\w[\w-]*([./]\w[\w-]*)*$": "a revision is the name of a branch or tag, or a commit, as in `main`",
    r"^[a-z][a-z0-9_]*$": "this begins with a small letter and goes on with small letters, digits and underscores, as in `sft_1`",
    r"^[A-Za-z0-9][A-Za-z0-9_.-]*$": "this begins with a letter or digit and goes on with letters, digits, dots, dashes and underscores",
    r"^\S(.*\S)?$": "a name neither begins nor ends with a space, and is one line",
    r"^[0-9a-f]{64}$": "a SHA-256 is 64 characters of 0-9 and a-f",
    r"^[0-9a-f]{32}$": "the id of an uploaded data set is 32 characters of 0-9 and a-f; `GET /api/v1/datasets` lists them",
    r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,119}$": "a file's name here has at most 120 letters, digits, dots, dashes and underscores",
    r"^-?\d{1,12}\.-?\d{1,12}$": "give the `cursor` of the answer before as it was",
    r"^[0-9a-f]{16}(\.[0-9]{1,6})*$": "give the `cursor` of the answer before as it was",
}
"""What to write, by the pattern of a field of the API."""

_MOST_LISTED = 12
_TAGGED = {"policy", "data", "reward", "source", "config"}
_TAGS = {
    *(
        "hub",
        "folder",
        "preset",
        "run",
        "task",
        "file",
        "upload",
        "sft",
        "reward_model",
        "copg",
        "dpo",
        "ipo",
        "policy_gradient",
    ),
    *("gold", "data", "function", "unit_tests", "entailment", "sum"),
}
_CLASS_TAG = re.compile(r"[A-Z]\w*$|function-|nullable")


def field_path(location: Sequence[str | int], *, root: str = "") -> str:
    """The dotted path of a field as it stands in the request, from pydantic's location.

    Pydantic names the branch of a union that it tried, which no form has as a field: `config.copg.policy.run.run`. In
    our bodies a union stands only in `config`, `policy`, `data`, `reward` and `source`, so that one word after those
    which names a branch is dropped.

    >>> field_path(("body", "config", "copg", "policy", "run", "run"))
    'config.policy.run'
    >>> field_path(("sft", "reward", "RunReward", "run"), root="config")
    'config.reward.run'
    >>> field_path(("copg", "reward", "sum", "rewards", 1, "reward", "run", "run"), root="config")
    'config.reward.rewards.1.reward.run'
    """
    parts = [str(part) for part in location]
    if parts and parts[0] in {"body", "query", "path", "header", "cookie"}:
        parts = parts[1:]
    parts = [*root.split("."), *parts] if root else parts
    kept: list[str] = []
    after_union = False
    for part in parts:
        if after_union and (part in _TAGS or _CLASS_TAG.match(part)):
            after_union = False
            continue
        kept.append(part)
        after_union = part in _TAGGED
    return ".".join(kept)


_MOST = 100  # errors that somebody reads; a body may have a hundred thousand, and looking for near names takes its time


def field_errors(
    errors: Sequence[Mapping[str, Any]], *, root: str = "", within: object = RunConfig
) -> list[FieldError]:
    """The first of pydantic's errors as fields and sentences. An error of a whole object says so at the object's path. `within`:
    what was validated."""
    found = []
    for item in errors[:_MOST]:
        said = words(item, within)
        if item["type"] == "union_tag_not_found":
            key = str(item["ctx"]["discriminator"]).strip("'")
            said, location = f"say which: {key!r} is missing", (*item["loc"], key)
        elif item["type"] == "union_tag_invalid":
            key = str(item["ctx"]["discriminator"]).strip("'")
            said = f"{item['ctx']['tag']!r} is not one of {item['ctx']['expected_tags']}"
            location = (*item["loc"], key)
        elif item["type"] == "json_invalid":
            # Its location is a position in the text, which is no field.
            said, location = f"the body is not valid JSON ({item['ctx']['error']} at {item['loc'][-1]})", ("body",)
        elif item["type"] == NUL:
            place = (field_path(item["loc"], root=root), *item["ctx"]["path"])
            found.append(FieldError(field=".".join(filter(None, place)), message=said))
            continue
        else:
            location = tuple(item["loc"])
        found.append(FieldError(field=field_path(location, root=root), message=said))
    return found


def words(error: Mapping[str, Any], within: object) -> str:
    """What to say of one of pydantic's errors. `within`: the type that was validated, as it is annotated."""
    if error["type"] == "string_pattern_mismatch":
        return SHAPES.get(error["ctx"]["pattern"], "this holds characters that it cannot have")
    if error["type"] == "extra_forbidden":
        *place, name = error["loc"]
        return unknown(str(name), known_at(within, place))
    return str(error["msg"]).removeprefix("Value error, ")


def unknown(name: str, known: Sequence[str]) -> str:
    """That there is no such field, and which may be meant: the nearest, or all where there are few.

    >>> unknown("lerning_rate", ["learning_rate", "warmup_steps"])
    "there is no field 'lerning_rate' here; did you mean 'learning_rate'?"
    >>> unknown("x", ["learning_rate", "warmup_steps"])
    "there is no field 'x' here; there are learning_rate, warmup_steps"
    """
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.6)
    if near:
        hint = f"; did you mean {' or '.join(map(repr, near))}?"
    else:
        hint = f"; there are {', '.join(known)}" if 0 < len(known) <= _MOST_LISTED else ""
    return f"there is no field {name!r} here{hint}"


def known_at(within: object, place: Sequence[str | int]) -> list[str]:
    """The fields that a type has at a place, by pydantic's location: names, numbers of items, and branches of unions."""
    here = list(_models(within))
    for part in place:
        below = [model for one in here for field in _fields(one, part) for model in _models(field)]
        here = below or [one for one in here if _is_branch(one, part)] or here
    return list(dict.fromkeys(name for one in here for name in _names(one)))


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _names(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _fields(model: type[BaseModel], part: str | int) -> list[object]:
    return [field.annotation for name, field in model.model_fields.items() if part in (name, field.alias)]


def _is_branch(model: type[BaseModel], part: str | int) -> bool:
    """Whether a union's branch of this name is the model: by its class, or by the word that tells it from the others."""
    told = [get_args(one.annotation) for one in model.model_fields.values() if get_origin(one.annotation) is Literal]
    return part == model.__name__ or any(part in one for one in told)
