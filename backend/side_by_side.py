"""Completions for the same prompts side by side, over steps and over runs, with what is new against the first column marked.

A completion is one draw from the policy: what differs between two columns is chance as well as training.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import Match, SequenceMatcher
from typing import Any, Literal

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from backend import yardsticks
from backend.errors import Invalid, NotFound
from backend.models import TRIAL, Run, Sample

MOST_COLUMNS = 8
Only = Literal["unfinished", "rose", "fell", "rose_gold_fell"]
Order = Literal["prompt", "gain", "loss", "reward", "kl", "length"]
Measure = Literal["reward", "gold", "length"]
_ASKED = re.compile(r"([^@\s]+)@(first|last|\d{1,9})")
_WORDS = re.compile(r"\S+\s*|\s+")
_MOST_WORDS = 400  # of longer texts only the ends that they share are found: comparing takes quadratic time
_MOST_TRIED = 100_000  # pairs of equal words that are looked at, 30 ms: a text that repeats itself has very many


@dataclass(frozen=True, slots=True)
class Score:
    """What one completion got. `index` is its prompt's place in the run's evaluation set."""

    index: int
    reward: float | None
    gold: float | None
    kl: float | None
    length: int
    finished: bool


@dataclass(frozen=True)
class Column:
    """One run at one step: None where it has no samples yet. `steps` are those that it has."""

    run: Run
    step: int | None
    steps: Sequence[int]
    scores: Mapping[str, Score]

    def values(self, measure: Measure) -> list[float]:
        """What all its prompts got; what is missing or not finite is left out."""
        found = (getattr(score, measure) for score in self.scores.values())
        return [float(value) for value in found if value is not None and math.isfinite(value)]


@dataclass(frozen=True)
class Row:
    """One prompt: its score in each column, and how far `focus` is above the first one. `apart` says by column, the same for all
    rows, why rewards are not compared with the first one's; None where they are."""

    key: str
    scores: Sequence[Score | None]
    focus: Score | None
    gain: float | None
    gold_gain: float | None
    apart: Sequence[str | None]

    def gain_of(self, place: int) -> float | None:
        """How far the reward in a column is above the first one's; None where these are not to be compared."""
        first, other = self.scores[0], self.scores[place]
        return _above(other.reward, first.reward) if first and other and self.apart[place] is None else None

    def is_one_of(self, only: Only) -> bool:
        if only == "unfinished":
            return self.focus is not None and not self.focus.finished
        if only == "rose_gold_fell":
            return (self.gain or 0) > 0 and (self.gold_gain or 0) < 0
        return (self.gain or 0) > 0 if only == "rose" else (self.gain or 0) < 0


def load(session: Session, asked: Sequence[str]) -> list[Column]:
    """The columns that `RUN@first`, `RUN@last` and `RUN@STEP` ask for, without their texts.

    Raises Invalid for words of another form and for steps without samples, NotFound for an unknown run.
    """
    if len(asked) > MOST_COLUMNS:
        raise Invalid.field("column", f"at most {MOST_COLUMNS} columns stand side by side, and these are {len(asked)}")
    return [_column(session, one) for one in asked]


def apart(columns: Sequence[Column], measure: yardsticks.Measure) -> list[str | None]:
    """Why the scores in each column are not compared with those in the first one; None where they are."""
    measured = [yardsticks.yardstick(column.run.config) for column in columns]
    reasons = (yardsticks.apart(measured[0], one, measure) for one in measured)
    return [None if why is None else why.of_row for why in reasons]


def rows(columns: Sequence[Column], focus: int, order: Order = "prompt") -> list[Row]:
    """Every prompt that any column has, sorted; gains are those of column `focus` over the first one."""
    keys = list(dict.fromkeys(key for column in columns for key in column.scores))
    kept_apart, gold_apart = apart(columns, "reward"), apart(columns, "gold")
    found = []
    for key in keys:
        scores = [column.scores.get(key) for column in columns]
        first, other = scores[0], scores[focus]
        golden = _above(other.gold, first.gold) if first and other and gold_apart[focus] is None else None
        row = Row(key, scores, other, None, golden, kept_apart)
        found.append(replace(row, gain=row.gain_of(focus)))
    if order == "prompt":
        return found
    by = {"gain": lambda row: _down(row.gain), "loss": lambda row: _down(row.gain, -1)}.get(
        order, lambda row: _down(getattr(row.focus, order, None))
    )
    return sorted(found, key=by)


def texts(session: Session, columns: Sequence[Column], shown: Sequence[Row]) -> list[dict[str, tuple[str, str]]]:
    """Prompt and completion of the rows that are shown, for each column."""
    found = []
    for place, column in enumerate(columns):
        wanted = {score.index: row.key for row in shown if (score := row.scores[place]) is not None}
        query = select(Sample.prompt_index, Sample.prompt, Sample.completion).where(
            Sample.run_id == column.run.id, Sample.step == column.step, Sample.prompt_index.in_(wanted)
        )
        found.append({wanted[index]: (prompt, completion) for index, prompt, completion in session.execute(query)})
    return found


def marked(first: str, other: str) -> list[tuple[str, bool]]:
    """`other` in pieces, each with whether it is new against `first`.

    >>> marked("a cat sat", "a dog sat")
    [('a ', False), ('dog ', True), ('sat', False)]
    """
    # A word's white space goes with it, but is not what makes it new: the last word of a text has none.
    old, new = ([(word.rstrip() or word, word) for word in _WORDS.findall(text)] for text in (first, other))
    pieces: list[tuple[str, bool]] = []
    for word, is_new in _compared([word for word, _ in old], [word for word, _ in new]):
        text = new[word][1]
        if pieces and pieces[-1][1] == is_new:
            pieces[-1] = (pieces[-1][0] + text, is_new)
        else:
            pieces.append((text, is_new))
    return pieces


def _compared(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[int, bool]]:
    """Places in `new`, each with whether it is new."""
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    end = len(new) - tail
    kept: set[int] = set()
    if max(len(old), len(new)) - head - tail <= _MOST_WORDS:
        for match in _Matcher(old[head : len(old) - tail], new[head:end]).get_matching_blocks():
            kept.update(range(head + match.b, head + match.b + match.size))
    for place in range(len(new)):
        yield place, head <= place < end and place not in kept


class _Matcher(SequenceMatcher[str]):
    """Knows common words too, which difflib leaves out of texts of 200 words and more; it stops at _MOST_TRIED instead, and what was
    not found by then counts as new."""

    def __init__(self, old: Sequence[str], new: Sequence[str]) -> None:
        super().__init__(None, old, new, autojunk=False)
        self._old, self._counts, self._tried = old, Counter(new), 0

    def find_longest_match(self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None) -> Match:
        self._tried += sum(1 + self._counts[word] for word in self._old[alo:ahi])
        return Match(alo, blo, 0) if self._tried > _MOST_TRIED else super().find_longest_match(alo, ahi, blo, bhi)


class PromptKeys:
    """Names by which the prompts of an evaluation set are found again at other steps and in other runs: a hash of the text, and how often
    it stood there before, since a prompt that stands twice is two rows.

    Prompts are long: PostgreSQL sends their hashes, SQLite has them in this process anyway.
    """

    def __init__(self, session: Session) -> None:
        self._hashed = session.get_bind().dialect.name == "postgresql"
        self._times: Counter[tuple[Hashable, str]] = Counter()

    def selected(self) -> ColumnElement[Any] | InstrumentedAttribute[str]:
        """What to select, in the order of the prompts' places, for `of`."""
        return func.md5(Sample.prompt) if self._hashed else Sample.prompt

    def of(self, place: Hashable, prompt: str) -> str:
        """The name of the next prompt at a place: a run, or a run's step where several are read together."""
        known = prompt if self._hashed else hashlib.md5(prompt.encode(), usedforsecurity=False).hexdigest()
        times = self._times[place, known]
        self._times[place, known] += 1
        return f"{known}.{times}"


def _column(session: Session, asked: str) -> Column:
    parts = _ASKED.fullmatch(asked)
    if parts is None:
        raise Invalid.field("column", f"{asked!r} is not RUN@STEP, where STEP is a number, `first` or `last`")
    run = session.scalars(select(Run).where(Run.uid == parts[1], Run.algorithm != TRIAL)).one_or_none()
    if run is None:
        raise NotFound(f"there is no run {parts[1]!r}")
    steps = list(session.scalars(select(Sample.step).where(Sample.run_id == run.id).distinct().order_by(Sample.step)))
    if not steps:
        return Column(run, None, [], {})
    step = {"first": steps[0], "last": steps[-1]}.get(parts[2])
    if step is None:
        step = int(parts[2])
        if step not in steps:
            near = min(steps, key=lambda known: abs(known - step))
            raise Invalid.field("column", f"{run.name!r} has no samples at step {step:,}; the nearest are at {near:,}")
    keys = PromptKeys(session)
    query = (
        select(
            Sample.prompt_index, keys.selected(), Sample.reward, Sample.gold, Sample.kl, Sample.length, Sample.finished
        )
        .where(Sample.run_id == run.id, Sample.step == step)
        .order_by(Sample.prompt_index)
    )
    found = session.execute(query).yield_per(1000)
    scores = {keys.of(run.id, prompt): Score(index, *rest) for index, prompt, *rest in found}
    return Column(run, step, steps, scores)


def _above(value: float | None, other: float | None) -> float | None:
    if value is None or other is None:
        return None
    gain = value - other
    return gain if math.isfinite(gain) else None


def _down(value: float | None, sign: int = 1) -> float:
    """A sort key: the largest first (`sign` -1: the smallest), what is unknown last."""
    return math.inf if value is None or math.isnan(value) else -sign * value
