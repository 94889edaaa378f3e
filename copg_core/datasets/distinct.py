"""Counts distinct texts of a stream in bounded memory. Torch-free.

Texts are known by 64-bit digests (among four million of them, two that agree by chance have a probability of 4e-7).
While there are at most `capacity` distinct ones every count is exact. Beyond that only digests in the lower half of their range are
kept, then in the lower quarter, and so on: a sample of the distinct texts with every occurrence of each, from the first row
to the last, so that counts times `factor` estimate those of the whole.
"""

from __future__ import annotations

import hashlib
from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Digests = NDArray[np.uint64]
CAPACITY = 2**21
_FRESH = 2**17


def digest(*texts: str) -> int:
    """64 bits that name these texts, in this order."""
    state = hashlib.blake2b(digest_size=8)
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return int.from_bytes(state.digest(), "little")


class DistinctCounter:
    """Distinct keys with how often each came, and a mask of up to 32 marks that its occurrences carried."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._halvings = 0
        self._keys: Digests = np.empty(0, np.uint64)
        self._counts: NDArray[np.int64] = np.empty(0, np.int64)
        self._marks: NDArray[np.uint32] = np.empty(0, np.uint32)
        self._fresh = array("Q")
        self._fresh_marks = array("L" if array("L").itemsize == 4 else "I")

    def add(self, key: int, mark: int = 0) -> None:
        """One occurrence; `mark` is a bit mask."""
        if key >> (64 - self._halvings):
            return
        self._fresh.append(key)
        self._fresh_marks.append(mark)
        if len(self._fresh) >= max(_FRESH, len(self._keys) // 2):
            self._merge()

    def result(self) -> Distinct:
        """What was counted so far."""
        self._merge()
        return Distinct(self._keys, self._counts, self._marks, 2**self._halvings)

    def _merge(self) -> None:
        keys = np.concatenate([self._keys, np.frombuffer(self._fresh, np.uint64)])
        counts = np.concatenate([self._counts, np.ones(len(self._fresh), np.int64)])
        marks = np.concatenate([self._marks, np.frombuffer(self._fresh_marks, np.uint32)])
        self._fresh = array("Q")
        self._fresh_marks = array(self._fresh_marks.typecode)
        if not len(keys):
            return
        order = np.argsort(keys)
        keys = keys[order]
        starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
        self._keys = keys[starts]
        self._counts = np.add.reduceat(counts[order], starts)
        self._marks = np.bitwise_or.reduceat(marks[order], starts)
        while len(self._keys) > self._capacity:
            self._halvings += 1
            kept = int(np.searchsorted(self._keys, np.uint64(2 ** (64 - self._halvings))))
            self._keys, self._counts, self._marks = self._keys[:kept], self._counts[:kept], self._marks[:kept]


@dataclass(frozen=True)
class Distinct:
    """Sorted keys, how often each came and its marks. `factor` is 1 where every key was kept."""

    keys: Digests
    counts: NDArray[np.int64]
    marks: NDArray[np.uint32]
    factor: int

    @property
    def distinct(self) -> int:
        """How many different texts there are."""
        return len(self.keys) * self.factor

    @property
    def repeated(self) -> int:
        """How many occurrences had come before."""
        return int(self.counts.sum() - len(self.keys)) * self.factor

    def marked(self, *masks: int) -> int:
        """How many different texts carry a mark of each of these masks."""
        kept = np.ones(len(self.keys), bool)
        for mask in masks:
            kept &= (self.marks & np.uint32(mask)) != 0
        return int(kept.sum()) * self.factor


def common(first: Distinct, second: Distinct) -> tuple[int, int]:
    """Different texts that both have, and occurrences of them in the second; both estimated where one was sampled."""
    factor = max(first.factor, second.factor)
    limit = np.uint64((2**64 // factor) - 1)
    ours, theirs = (one.keys[: int(np.searchsorted(one.keys, limit, side="right"))] for one in (first, second))
    both, _, there = np.intersect1d(ours, theirs, assume_unique=True, return_indices=True)
    return len(both) * factor, int(second.counts[there].sum()) * factor
