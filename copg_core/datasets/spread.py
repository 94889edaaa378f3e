"""How numbers of a stream are spread: mean, quantiles and a histogram, in bounded memory. Torch-free."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import numpy as np

BINS = 40
_LONGEST = 2**20  # lengths beyond this are one length to quantiles; mean and maximum know them


class Lengths:
    """Lengths, each counted: quantiles are exact."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._total = self._n = self._largest = 0

    def add(self, length: int) -> None:
        self._counts[min(length, _LONGEST)] += 1
        self._n += 1
        self._total += length
        self._largest = max(self._largest, length)

    @property
    def _end(self) -> int:
        """The 99.5 % quantile, where the histogram ends."""
        below = 0
        for value in sorted(self._counts):
            below += self._counts[value]
            if below >= 0.995 * self._n:
                return value
        return 0

    def report(self, beside: Iterable[Lengths] = ()) -> dict[str, Any]:
        """Numbers and a histogram, with the same bars as those of `beside`; `beyond` counts what is longer than its end."""
        values = np.array(sorted(self._counts), np.int64)
        counts = np.array([self._counts[int(value)] for value in values], np.int64)
        below = np.cumsum(counts)

        def quantile(share: float) -> int:
            return int(values[np.searchsorted(below, share * self._n)])

        end = max(self._end, *(one._end for one in beside), 1)
        width = max(1, _nice(end / BINS))
        edges = np.arange(0, end + width + 1, width)
        histogram, _ = np.histogram(values, edges, weights=counts)
        return {
            "n": self._n,
            "mean": self._total / self._n,
            "median": quantile(0.5),
            "p95": quantile(0.95),
            "max": self._largest,
            "edges": edges.tolist(),
            "counts": histogram.astype(int).tolist(),
            "beyond": self._n - int(histogram.sum()),
        }


class Values:
    """Real numbers: moments of all, a histogram of a fixed-size sample of them."""

    def __init__(self, sample: int = 50_000) -> None:
        self._sample: list[float] = []
        self._size = sample
        self._random = random.Random(0)
        self._n = self._zeros = 0
        self._mean = self._squares = 0.0
        self._least, self._most = math.inf, -math.inf

    def add(self, value: float) -> None:
        self._n += 1
        self._zeros += value == 0
        change = value - self._mean
        self._mean += change / self._n
        self._squares += change * (value - self._mean)
        self._least, self._most = min(self._least, value), max(self._most, value)
        if len(self._sample) < self._size:
            self._sample.append(value)
        elif (place := self._random.randrange(self._n)) < self._size:
            self._sample[place] = value

    def report(self) -> dict[str, Any] | None:
        """None where nothing was added. Numbers too large for arithmetic have no histogram and no deviation."""
        if not self._n:
            return None
        variance = max(0.0, self._squares / (self._n - 1)) if self._n > 1 else 0.0
        mean, deviation = (value if math.isfinite(value) else None for value in (self._mean, math.sqrt(variance)))
        edges: list[float] = []
        counts: list[int] = []
        spread = np.array(self._sample)
        if math.isfinite(float(spread.max()) - float(spread.min())):
            with suppress(ValueError):  # the values are too close, for their size, to be told apart
                found, places = np.histogram(spread, BINS)
                counts, edges = found.tolist(), places.tolist()
        return {
            "n": self._n,
            "mean": mean,
            "deviation": deviation,
            "min": self._least,
            "max": self._most,
            "zeros": int(self._zeros),
            "edges": edges,
            "counts": counts,
            "sampled": len(self._sample) < self._n,
        }


def _nice(width: float) -> int:
    """The next whole number of the form 1, 2 or 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(max(width, 1)))
    return next(int(step * power) for step in (1, 2, 5, 10) if step * power >= width)
