"""Dialogues in rows: lists of chat messages, and transcripts as HH-RLHF writes them. Torch-free."""

from __future__ import annotations

from typing import Any

from copg_core.errors import DataError
from copg_core.rows import Dialogue, Turn
from copg_core.templates import ASSISTANT, messages_prompt, transcript_prompt

# ShareGPT's names for the keys and the speakers.
_SPEAKERS = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}


def is_messages(value: Any) -> bool:
    """True for a non-empty list of objects with a speaker and a text."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(turn, dict) and ({"role", "content"} <= turn.keys() or {"from", "value"} <= turn.keys())
            for turn in value
        )
    )


def as_turns(value: Any) -> tuple[Turn, ...]:
    """The messages with their speakers named user, assistant and system. Raises DataError."""
    if not is_messages(value):
        raise DataError("expected a list of messages with `role` and `content`")
    turns = []
    for turn in value:
        role, content = str(turn.get("role", turn.get("from"))), turn.get("content", turn.get("value"))
        if not isinstance(content, str):
            raise DataError(f"a message of {role} holds a {type(content).__name__}, expected text")
        turns.append({"role": _SPEAKERS.get(role, role), "content": content})
    return tuple(turns)


def split_messages(value: Any) -> tuple[tuple[Turn, ...], str]:
    """The turns before the assistant's last message, and that message."""
    turns = as_turns(value)
    if turns[-1]["role"] != "assistant":
        raise DataError(f"the last message is the {turns[-1]['role']}'s, expected the assistant's")
    return turns[:-1], turns[-1]["content"]


def common_turns(chosen: Any, rejected: Any) -> tuple[Dialogue, str, str] | None:
    """Common turns as the prompt, and the two last messages; None where the dialogues part before the last message."""
    (before, best), (before_2, other) = split_messages(chosen), split_messages(rejected)
    return (messages_prompt(before), best, other) if before == before_2 else None


def transcripts(chosen: str, rejected: str) -> tuple[str, str, str] | None:
    """The common dialogue up to the last `Assistant:` both have, and how each goes on; None where they share no such turn.

    Texts without speakers are two completions of an empty prompt.

    >>> transcripts("\\n\\nHuman: Hi\\n\\nAssistant: Yes", "\\n\\nHuman: Hi\\n\\nAssistant: No")
    ('\\n\\nHuman: Hi\\n\\nAssistant:', 'Yes', 'No')
    """
    if ASSISTANT not in chosen and ASSISTANT not in rejected:
        return "", chosen, rejected
    parted = next((i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), None)
    shared = chosen[:parted] if parted is not None else min(chosen, rejected, key=len)
    end = shared.rfind(ASSISTANT)
    if end < 0:
        return None
    end += len(ASSISTANT)
    return transcript_prompt(shared[:end]), chosen[end:].strip(), rejected[end:].strip()
