"""Rows with several completions of one prompt: numbered columns, or one column that holds a list. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Callable

from copg_core.datasets.turns import is_messages, split_messages
from copg_core.datasets.values import Record, completion_of, number_of, value_of
from copg_core.errors import DataError
from copg_core.rows import Comparison
from copg_core.wording import named

Reader = Callable[[Record], Comparison]
Roles = dict[str, str]


def numbered(names: list[str], mapping: Roles, prompt: Callable[[Record], str]) -> tuple[Roles, Reader]:
    """completion_1, completion_2 and whatever goes on counting (completion_3, ...), with reward_1 and so on likewise.

    Returns role -> column, and the reader of one record. Further columns that a record leaves empty are no completions.
    """
    columns = _counting(names, mapping["completion_1"], mapping["completion_2"])
    rewarded = {"reward_1", "reward_2"} <= mapping.keys()
    reward_columns = _counting(names, mapping["reward_1"], mapping["reward_2"]) if rewarded else []
    if rewarded and len(reward_columns) != len(columns):
        raise DataError(
            f"has {len(columns)} completion columns ({named(columns)}) but {len(reward_columns)} reward columns "
            f"({named(reward_columns)}): expected one reward for each completion"
        )
    roles = {f"completion_{number}": column for number, column in enumerate(columns, start=1)}
    roles |= {f"reward_{number}": column for number, column in enumerate(reward_columns, start=1)}

    def read(record: Record) -> Comparison:
        present = [i for i, column in enumerate(columns) if i < 2 or value_of(record, column) not in (None, "")]
        rewards = [number_of(record, reward_columns[i]) if rewarded else None for i in present]
        return _row(prompt(record), [completion_of(record, columns[i]) for i in present], rewards)

    return roles, read


def listed(mapping: Roles, prompt: Callable[[Record], str]) -> tuple[Roles, Reader]:
    """A column with a list of completions and, where there is one, a column with the list of their rewards."""
    roles: Roles = {role: mapping[role] for role in ("completions", "rewards") if role in mapping}

    def read(record: Record) -> Comparison:
        completions = _list(record, roles["completions"])
        rewards = _list(record, roles["rewards"]) if "rewards" in roles else [None] * len(completions)
        if len(rewards) != len(completions):
            raise DataError(f"has {len(completions)} completions but {len(rewards)} rewards: expected one for each")
        if len(completions) < 2:
            raise DataError(
                f"column {roles['completions']!r} holds {len(completions)} completions, expected two or more"
            )
        texts = [split_messages(item)[1] if is_messages(item) else str(item or "") for item in completions]
        return _row(prompt(record), texts, [number_of({"rewards": reward}, "rewards") for reward in rewards])

    return roles, read


def _row(prompt: str, completions: list[str], rewards: list[float | None]) -> Comparison:
    known = tuple(reward for reward in rewards if reward is not None)
    if known and len(known) != len(completions):
        raise DataError("has a reward for some completions only: expected all or none")
    first, second = known[:2] if known else (None, None)
    return Comparison(
        prompt,
        completions[0],
        completions[1],
        first,
        second,
        further_completions=tuple(completions[2:]),
        further_rewards=known[2:],
    )


def _list(record: Record, column: str) -> list[object]:
    value = value_of(record, column)
    if hasattr(value, "tolist"):  # parquet gives arrays
        value = value.tolist()
    if not isinstance(value, list | tuple):
        raise DataError(f"column {column!r} holds a {type(value).__name__}, expected a list")
    return list(value)


def _counting(names: list[str], first: str, second: str) -> list[str]:
    """The two columns and those that go on counting from the second: `answer_2` is followed by `answer_3`."""
    columns = [first, second]
    found = re.fullmatch(r"(.*?)(\d+)", second)
    while found and (following := f"{found[1]}{int(found[2]) + len(columns) - 1}") in names:
        columns.append(following)
    return columns
