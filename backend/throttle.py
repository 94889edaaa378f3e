"""Slows down whoever guesses: after a few wrong tokens an address waits, each time twice as long.

Everything is in memory and bounded: a fixed number of addresses, of which the longest unheard of is forgotten.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

FREE, LONGEST = 5, 300.0
"""Wrong tokens without a wait; the longest wait in seconds, after which an address begins anew."""


class Throttle:
    """Counts failures by address. Thread-safe."""

    def __init__(self, size: int = 4096, clock: Callable[[], float] = time.monotonic) -> None:
        self._size, self._clock = size, clock
        self._failures: OrderedDict[str, tuple[int, float, float]] = OrderedDict()  # count, wait until, last failure
        self._good: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, address: str, digest: str) -> float:
        """Seconds that this address has to wait before a token is looked at; 0 where it need not.

        A token that was good from this address before is let through: people behind one address (a proxy, an office)
        cannot lock each other out.
        """
        with self._lock:
            if (address, digest) in self._good:
                return 0.0
            _, until, _ = self._failures.get(address, (0, 0.0, 0.0))
        return max(0.0, until - self._clock())

    def failed(self, address: str) -> float:
        """Count a wrong token; returns the seconds to wait from now on."""
        now = self._clock()
        with self._lock:
            count, _, last = self._failures.pop(address, (0, 0.0, now))
            count = 1 if now - last > LONGEST else count + 1
            wait = 0.0 if count <= FREE else min(LONGEST, 2.0 ** (count - FREE - 1))
            self._failures[address] = (count, now + wait, now)
            self._trim(self._failures)
        return wait

    def succeeded(self, address: str, digest: str) -> None:
        """Remember that this token was good from this address."""
        with self._lock:
            self._good[address, digest] = None
            self._good.move_to_end((address, digest))
            self._trim(self._good)

    def _trim(self, kept: OrderedDict[str, tuple[int, float, float]] | OrderedDict[tuple[str, str], None]) -> None:
        while len(kept) > self._size:
            kept.popitem(last=False)
