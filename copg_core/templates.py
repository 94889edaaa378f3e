"""Prompts from rows: explicit templates, the TL;DR form, and dialogues as text. Torch-free."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from typing import Any

from copg_core.errors import DataError
from copg_core.rows import Dialogue, Turn
from copg_core.wording import named

SUMMARY_END = "TL;DR:"
ASSISTANT = "\n\nAssistant:"
_HUMAN = "\n\nHuman:"
_FORMATTER = string.Formatter()
_WIDE = re.compile(r"\d{3}")


def check_template(template: str, columns: list[str]) -> None:
    """Raise DataError unless `template` is a format string over these columns."""
    try:
        parts = [(name, form or "") for _, name, form, _ in _FORMATTER.parse(template) if name is not None]
    except ValueError as error:
        raise DataError(f"the prompt template is no format string: {error} (write {{{{ for a brace itself)") from error
    for name, form in parts:
        if "{" in form or _WIDE.search(form):  # a field inside would not be checked, and a width could fill the memory
            raise DataError(f"the prompt template uses {{{name}:{form}}}: leave out what stands after the colon")
        column = name.partition("[")[0]
        if "." in name or column not in columns:
            raise DataError(f"the prompt template uses {{{name}}}, but the columns are {named(columns)}")
    if not parts:
        raise DataError("the prompt template names no column, so every prompt would be the same")


def fill_template(template: str, record: Mapping[str, Any]) -> str:
    """The prompt of one row; an absent or null column counts as empty text. Raises DataError."""
    try:
        return template.format_map(_Blanks(record))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(f"the prompt template does not fit this row: {error}") from error


class _Blanks(dict[str, Any]):
    def __init__(self, record: Mapping[str, Any]) -> None:
        super().__init__({name: "" if value is None else value for name, value in record.items()})

    def __missing__(self, key: str) -> str:
        return ""


def summary_prompt(post: str, title: str = "", subreddit: str = "") -> str:
    """The prompt of Reddit TL;DR, as OpenAI's comparisons have it, with what the row has of subreddit and title."""
    if post.rstrip().endswith(SUMMARY_END):
        return post
    if not (title or subreddit):
        return f"{post}\n\n{SUMMARY_END}"
    head = [f"SUBREDDIT: r/{subreddit}"] if subreddit else []
    head += [f"TITLE: {title}"] if title else []
    return "\n\n".join([*head, f"POST: {post}", SUMMARY_END])


def messages_prompt(turns: tuple[Turn, ...]) -> Dialogue:
    """Chat messages as `role: text` lines that end where the assistant is to speak.

    >>> messages_prompt(({"role": "user", "content": "Hi"},))
    'user: Hi\\nassistant:'
    """
    lines = [f"{turn['role']}: {turn['content']}" for turn in turns]
    return Dialogue("\n".join([*lines, "assistant:"]), turns)


def transcript_prompt(text: str) -> Dialogue:
    """A dialogue of HH-RLHF, kept as it is written, together with its turns."""
    turns: list[Turn] = []
    for block in text.removesuffix(ASSISTANT).split(_HUMAN):
        human, *answers = block.split(ASSISTANT)
        if human.strip():
            turns.append({"role": "user", "content": human.strip()})
        turns += [{"role": "assistant", "content": answer.strip()} for answer in answers]
    return Dialogue(text, tuple(turns))
