"""What a data source turns into: typed rows, the two halves of a split, and a preview for the page. Torch-free."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Self, TypeVar

Value = str | int | float | bool | None
Turn = dict[str, str]


class Dialogue(str):
    """A prompt that is a conversation: text like any other, which also knows its turns.

    As text it reads the way the data wrote it (HH-RLHF) or as `role: text` lines (chat messages). A tokenizer with a chat
    template is given `turns` instead, so that a chat model sees the markers it was trained on.
    """

    turns: tuple[Turn, ...]

    def __new__(cls, text: str, turns: tuple[Turn, ...]) -> Self:
        dialogue = super().__new__(cls, text)
        dialogue.turns = turns
        return dialogue

    def __getnewargs__(self) -> tuple[str, tuple[Turn, ...]]:  # type: ignore[override]
        return str(self), self.turns


class Context(Mapping[str, Any]):
    """What a row knows beside prompt and completions, for its reward: column -> value. Read-only and hashable.

    >>> Context({"answer": "#### 18"})["answer"]
    '#### 18'
    """

    __slots__ = ("_text", "_values")

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)
        self._text = json.dumps(self._values, sort_keys=True, default=str)

    def __getitem__(self, column: str) -> Any:
        return self._values[column]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(self._text)

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, Context) else NotImplemented

    def __repr__(self) -> str:
        """Canonical JSON: equal contexts have equal text, so that it can be part of a cache's key."""
        return self._text


NO_CONTEXT = Context({})


@dataclass(frozen=True)
class Demonstration:
    """One prompt and the completion to imitate; `context` is what the reward is told besides."""

    prompt: str
    completion: str
    context: Context = NO_CONTEXT


@dataclass(frozen=True)
class Comparison:
    """One prompt and two completions, or more; rewards (reward units) where the data has them.

    A chosen/rejected row has the chosen completion first and rewards 1/2 and 0: the contrast at which CoPG's gradient is
    IPO's (Property 3). Rows that the data does not order carry no rewards; a row has all rewards or none.
    """

    prompt: str
    completion_1: str
    completion_2: str
    reward_1: float | None = None
    reward_2: float | None = None
    context: Context = NO_CONTEXT
    further_completions: tuple[str, ...] = ()
    further_rewards: tuple[float, ...] = ()

    @property
    def completions(self) -> tuple[str, ...]:
        """All completions, in the order of the data."""
        return self.completion_1, self.completion_2, *self.further_completions

    @property
    def rewards(self) -> tuple[float, ...] | None:
        """The reward of each completion, or None where the data has none."""
        if self.reward_1 is None or self.reward_2 is None:
            return None
        return self.reward_1, self.reward_2, *self.further_rewards

    def taking(self, order: Sequence[int]) -> Comparison:
        """The completions of these numbers (from 0), in this order, with their rewards."""
        texts = [self.completions[i] for i in order]
        given = self.rewards
        first, second, *others = [given[i] for i in order] if given else [None, None]
        known = tuple(reward for reward in others if reward is not None)
        return replace(
            self,
            completion_1=texts[0],
            completion_2=texts[1],
            reward_1=first,
            reward_2=second,
            further_completions=tuple(texts[2:]),
            further_rewards=known,
        )


Row = TypeVar("Row", Demonstration, Comparison)


@dataclass(frozen=True)
class Split(Generic[Row]):
    """Training and validation rows, and a report that counts every row that was read, dropped or shared."""

    train: list[Row]
    validation: list[Row]
    report: dict[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Preview:
    """How a source was understood: its shape, its columns, the role of each used column, and the first rows.

    `counted_rows` is None where counting would mean reading a large file to its end.
    """

    shape: str
    columns: list[str]
    mapping: dict[str, str]
    rows: list[Demonstration] | list[Comparison]
    counted_rows: int | None
