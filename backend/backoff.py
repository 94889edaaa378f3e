"""How long a run waits before its next attempt."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """Doubles with every attempt, from `first` to `cap` seconds."""

    first: float = 2.0
    cap: float = 600.0

    def delay(self, attempt: int) -> float:
        """Seconds to wait after the attempt with this number (the first is 1)."""
        return min(self.cap, self.first * 2.0 ** min(max(attempt, 1) - 1, 60))

    def sentence(self, attempt: int, max_attempts: int) -> str:
        """What the history says about it."""
        return f"attempt {attempt + 1} of {max_attempts} in {self.delay(attempt):g} s"
