"""A loop goes on whatever a turn raises, comes when it is called, and ends when it is told."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy.exc import OperationalError

from backend.loops import Loop


class Turns(Loop):
    """Raises what it is given, one for each turn."""

    def __init__(self, *failures: Exception) -> None:
        super().__init__("turns", seconds=3600.0)
        self.failures = list(failures)
        self.taken = threading.Semaphore(0)

    def step(self) -> None:
        self.taken.release()
        if self.failures:
            raise self.failures.pop(0)


def test_what_a_turn_raises_is_said_and_the_next_one_comes(caplog: pytest.LogCaptureFixture) -> None:
    loop = Turns(OperationalError("SELECT 1", {}, Exception("server closed\nthe connection")), KeyError("odd"))
    loop.start()
    for _ in range(3):
        assert loop.taken.acquire(timeout=10)
        loop.wake()
    loop.stop()
    assert not loop._thread.is_alive()
    first, second = caplog.records[:2]
    assert "turns: the database does not answer" in first.getMessage()
    assert "\n" not in first.getMessage()
    assert first.exc_info is None
    assert second.exc_info is not None


def test_nobody_waits_for_a_turn_that_hangs_or_for_a_loop_that_never_began() -> None:
    Turns().stop()
    hanging, free = threading.Event(), threading.Event()

    class Hangs(Loop):
        def step(self) -> None:
            hanging.set()
            free.wait(30)

    loop = Hangs("hangs", seconds=0.01, patience=0.01)
    loop.start()
    assert hanging.wait(10)
    loop.stop()
    assert loop._thread.is_alive()  # left behind
    free.set()
    loop._thread.join(10)
    assert not loop._thread.is_alive()
