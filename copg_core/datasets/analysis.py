"""What a data set holds, from one pass over its file: counts, lengths, contrasts, duplicates, splits. Torch-free.

Memory is bounded whatever the size of the file (see distinct.py), rows are read by the very code that training uses, and a row
that training would refuse is the DataError that training would raise.
"""

from __future__ import annotations

import math
import re
import time
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from copg_core.datasets.distinct import Distinct, DistinctCounter, digest
from copg_core.datasets.files import Record, read_rows
from copg_core.datasets.load import located
from copg_core.datasets.shapes import Shape, recognise_any
from copg_core.datasets.spread import Lengths, Values
from copg_core.errors import DataError
from copg_core.rows import Comparison, Demonstration
from copg_core.sources import FileData

MAX_ROWS = 10_000_000
PREVIEW_ROWS = 25
_PREVIEW_LETTERS = 4_000
_SPLITS = 16  # different values that make a column a column of splits
_SPLIT_COLUMNS = ("split", "subset", "partition", "fold", "set")
_NOT_WORDS = re.compile(r"[\W_]+")
Report = dict[str, Any]


@dataclass(frozen=True)
class Analysis:
    """The report, and the prompts' digests, from which the overlap with other data sets is computed."""

    report: Report
    prompts: Distinct
    normalised: Distinct

    def save_keys(self, path: Path) -> None:
        """The digests as a compressed file."""
        values = {
            f"{name}_{part}": getattr(found, part)
            for name, found in (("prompts", self.prompts), ("normalised", self.normalised))
            for part in ("keys", "counts", "factor")
        }
        partial = path.with_name(f".{path.name}.part")
        with partial.open("wb") as stream:
            np.savez(stream, **values)
        partial.replace(path)


def load_keys(path: Path) -> tuple[Distinct, Distinct]:
    """Digests of prompts and of normalised prompts. Raises OSError where there is no such file."""
    with np.load(path, allow_pickle=False) as stored:
        first, second = (
            Distinct(
                stored[f"{name}_keys"],
                stored[f"{name}_counts"],
                np.empty(0, np.uint32),
                int(stored[f"{name}_factor"]),
            )
            for name in ("prompts", "normalised")
        )
    return first, second


def normalised(text: str) -> str:
    """The text without case, punctuation and spacing, in Unicode's compatible form.

    >>> normalised("  What's  THIS?\\n")
    'what s this'
    """
    return _NOT_WORDS.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def analyse(
    source: FileData,
    *,
    progress: Callable[[int], None] = lambda rows: None,
    seconds: float = math.inf,
    max_rows: int = MAX_ROWS,
) -> Analysis:
    """Read the training file of a source to its end, or as far as the limits allow; the report says which.

    `progress` is told the number of rows and may raise to stop the work. Raises DataError as loading would.
    """
    rows = read_rows(source.path)
    first = next(rows, None)
    if first is None:
        raise DataError("has no rows", source=source.path)
    with located(source.path, first[0]):
        shape = recognise_any(first[1], source.columns, source.prompt_template)
    counting = _Counting(shape, first[1])
    begin = time.monotonic()
    stopped = None
    for number, record in chain([first], rows):
        with located(source.path, number):
            counting.add(number, record)
        if counting.rows % 256 == 0:
            progress(counting.rows)
            if time.monotonic() - begin > seconds:
                stopped = f"after {seconds:.0f} seconds"
        if counting.rows >= max_rows:
            stopped = f"after {max_rows:,} rows"
        if stopped:
            break
    return counting.finished(stopped)


class _Counting:
    def __init__(self, shape: Shape, first: Record) -> None:
        self._shape = shape
        self.rows = self._usable = self._empty_prompts = self._equal_rewards = self._most = 0
        self._dropped: Counter[str] = Counter()
        self._lengths: dict[str, Lengths] = {}
        self._contrast = Values()
        self._orders_only = "chosen" in shape.mapping
        self._identical, self._prompts, self._normalised, self._pairs = (DistinctCounter() for _ in range(4))
        self._split_column = next((name for name in _SPLIT_COLUMNS if name in first), None)
        self._splits: Counter[str] = Counter()
        self._preview: list[dict[str, Any]] = []

    def add(self, number: int, record: Record) -> None:
        self.rows += 1
        row: Comparison | Demonstration | str
        if self._shape.pairs:
            row = self._shape.comparison(record)
        else:
            row = self._shape.prompt(record) if self._shape.prompts_alone else self._shape.demonstration(record)
        if isinstance(row, str):
            self._dropped[row] += 1
            return
        self._usable += 1
        mark = self._mark(record)
        texts = row.completions if isinstance(row, Comparison) else (row.completion,) if row.completion else ()
        rewards = row.rewards if isinstance(row, Comparison) else None
        self._measure(row.prompt, texts, rewards)
        self._identical.add(digest(row.prompt, *texts, repr(rewards)))
        key = row.prompt or (texts[0] if texts else "")
        self._empty_prompts += not row.prompt
        self._prompts.add(digest(key), mark)
        self._normalised.add(digest(normalised(key)), mark)
        if len(texts) == 2:
            self._pairs.add(digest(row.prompt, *sorted(texts)), 1 if texts[0] < texts[1] else 2)
        if len(self._preview) < PREVIEW_ROWS:
            self._preview.append(_shown(number, row.prompt, texts, None if self._orders_only else rewards))

    def _mark(self, record: Record) -> int:
        if self._split_column is None:
            return 0
        name = str(record.get(self._split_column))[:80]
        if name not in self._splits and len(self._splits) >= _SPLITS:
            self._split_column = None  # its values are not those of splits
            return 0
        self._splits[name] += 1
        return 1 << list(self._splits).index(name)

    def _measure(self, prompt: str, texts: tuple[str, ...], rewards: tuple[float, ...] | None) -> None:
        names = ["prompt", *self._completion_names(len(texts))]
        for name, text in zip(names, (prompt, *texts), strict=True):
            self._lengths.setdefault(name, Lengths()).add(len(text))
        self._most = max(self._most, len(texts))
        if rewards is not None and not self._orders_only:
            contrast = rewards[0] - rewards[1] if len(rewards) == 2 else max(rewards) - min(rewards)
            if math.isfinite(contrast):  # two finite rewards can be further apart than numbers reach
                self._contrast.add(contrast)

    def _completion_names(self, count: int) -> list[str]:
        if count < 2:
            return ["completion"] * count
        first = ["chosen", "rejected"] if self._orders_only else ["completion 1", "completion 2"]
        return first + ["further completions"] * (count - 2)

    def finished(self, stopped: str | None) -> Analysis:
        identical, prompts, flat, pairs = (
            counter.result() for counter in (self._identical, self._prompts, self._normalised, self._pairs)
        )
        completions = [found for name, found in self._lengths.items() if name != "prompt"]
        lengths = {name: found.report(completions if name != "prompt" else ()) for name, found in self._lengths.items()}
        report: Report = {
            "shape": self._shape.name[:200],
            "pairs": self._shape.pairs,
            "completions": self._most,
            "columns": [str(name)[:200] for name in self._shape.columns[:200]],
            "mapping": {role: str(column)[:200] for role, column in list(self._shape.mapping.items())[:200]},
            "rows": self.rows,
            "usable": self._usable,
            "dropped": dict(self._dropped),
            "stopped": stopped,
            "empty_prompts": self._empty_prompts,
            "rewards": "order" if self._orders_only else "given" if (contrast := self._contrast.report()) else "none",
            "contrast": None if self._orders_only else contrast,
            "lengths": lengths,
            "duplicates": {
                "rows": identical.repeated,
                "prompts": prompts.repeated,
                "distinct_prompts": prompts.distinct,
                "distinct_normalised_prompts": flat.distinct,
                "swapped_pairs": pairs.marked(1, 2),
                "one_of": max(found.factor for found in (identical, prompts, flat, pairs)),
            },
            "splits": self._split_report(prompts, flat),
            "preview": self._preview,
        }
        return Analysis(report, prompts, flat)

    def _split_report(self, prompts: Distinct, flat: Distinct) -> Report | None:
        names = list(self._splits)
        if self._split_column is None or len(names) < 2:
            return None
        overlaps = [
            {
                "first": names[i],
                "second": names[j],
                "prompts": prompts.marked(1 << i, 1 << j),
                "normalised": flat.marked(1 << i, 1 << j),
            }
            for i in range(len(names))
            for j in range(i + 1, len(names))
        ]
        return {
            "column": self._split_column,
            "values": [
                {"name": name, "rows": self._splits[name], "prompts": prompts.marked(1 << i)}
                for i, name in enumerate(names)
            ],
            "overlaps": overlaps,
        }


def _shown(number: int, prompt: str, texts: tuple[str, ...], rewards: tuple[float, ...] | None) -> dict[str, Any]:
    return {
        "row": number,
        "prompt": prompt[:_PREVIEW_LETTERS],
        "prompt_length": len(prompt),
        "completions": [text[:_PREVIEW_LETTERS] for text in texts[:8]],
        "completion_lengths": [len(text) for text in texts[:8]],
        "rewards": list(rewards[:8]) if rewards else None,
    }
