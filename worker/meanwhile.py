"""Work that takes its time in a thread of its own, while the supervisor goes on renewing its lease and listening."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from backend.store import Interrupted

T = TypeVar("T")


def meanwhile(
    work: Callable[[Callable[[], bool]], T],
    *,
    beat: Callable[[], None],
    leaving: Callable[[], bool],
    every: float,
    seconds: float = float("inf"),
) -> T:
    """What `work(stop)` returns. `beat()` is called every so many seconds until then; once `leaving()`, `stop()` is true.

    Raises what `work` raises, what `beat` raises, and Interrupted where it took more than `seconds`.
    """
    over = threading.Event()
    outcome: Future[T] = Future()

    def attempt_it() -> None:
        try:
            outcome.set_result(work(over.is_set))
        except BaseException as error:  # noqa: BLE001 - raised again below
            outcome.set_exception(error)

    # A thread of its own that nobody joins: a driver may hang longer than we wait.
    threading.Thread(target=attempt_it, name="meanwhile", daemon=True).start()
    end = time.monotonic() + seconds
    try:
        while not outcome.done():
            beat()
            if time.monotonic() > end:
                raise Interrupted
            if leaving():
                over.set()
            time.sleep(every)
        return outcome.result()
    finally:
        over.set()
