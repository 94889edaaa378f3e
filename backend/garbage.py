"""Full collections of garbage in the web process: short ones, or everybody waits.

Python's collector goes through every container of the process while nobody else runs; with FastAPI, SQLAlchemy and Plotly loaded that
takes a tenth of a second and more, and drawing figures makes it do so every second. What a process has loaded stands for good: it is taken out
of the collector's sight (gc.freeze) at the start, and again after a full collection that took long, because Plotly and SciPy are
loaded later. What is out of sight is still freed when nothing refers to it; only what was a part of a cycle at that moment would stay,
which is why it is done a few times and not for ever.
"""

from __future__ import annotations

import gc
import time
from typing import Any

LONG_SECONDS = 0.03
MOST_TIMES = 5
_FULL = 2  # the oldest generation


class Keeper:
    """`install()` once, in a process that is ours."""

    def __init__(self) -> None:
        self._began = 0.0
        self._times = 0

    def install(self) -> None:
        """Take out of sight what is loaded now, and what will be."""
        gc.freeze()
        gc.callbacks.append(self._told)

    def remove(self) -> None:
        """Leave the collector as it is."""
        gc.callbacks.remove(self._told)

    def _told(self, phase: str, info: dict[str, Any]) -> None:
        if info["generation"] != _FULL:
            return
        if phase == "start":
            self._began = time.perf_counter()
        elif time.perf_counter() - self._began > LONG_SECONDS:
            gc.freeze()
            self._times += 1
            if self._times >= MOST_TIMES:
                self.remove()
