"""Answers that many viewers ask for at the same moment are made once, and waited for by one of them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import Future
from threading import Lock
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class SharedAnswers(Generic[Answer]):
    """The last `size` answers by key. Thread-safe; who asks for one that is being made waits for it.

    The key must hold everything that the answer depends on, a run's `rev` among it, so that none is ever out of date.
    """

    def __init__(self, size: int = 512) -> None:
        self._size = size
        self._lock = Lock()
        self._answers: OrderedDict[Hashable, Future[Answer]] = OrderedDict()

    def ready(self, key: Hashable) -> Answer | None:
        """The answer where it is made already; waits for nobody."""
        with self._lock:
            future = self._answers.get(key)
            if future is None or not future.done() or future.exception() is not None:
                return None
            self._answers.move_to_end(key)
            return future.result()

    def get(self, key: Hashable, make: Callable[[], Answer]) -> Answer:
        """The answer, made by `make()` where nobody asked before. What `make` raises, everybody who waits gets; it is
        not kept."""
        with self._lock:
            future = self._answers.get(key)
            if mine := future is None:
                future = self._answers[key] = Future()
                while len(self._answers) > self._size:
                    self._answers.popitem(last=False)
            else:
                self._answers.move_to_end(key)
        if mine:
            try:
                future.set_result(make())
            except Exception as error:  # noqa: BLE001 - whoever waits gets it
                with self._lock:
                    if self._answers.get(key) is future:
                        del self._answers[key]
                future.set_exception(error)
        return future.result()


class Flights(Generic[Answer]):
    """Questions on the event loop whose answer is on its way: whoever asks the same meanwhile waits for it too, without a thread."""

    def __init__(self) -> None:
        self._under_way: dict[Hashable, asyncio.Future[Answer]] = {}

    async def share(self, key: Hashable) -> Answer | None:
        """What is on its way; None where nobody asks at this moment, or where it fails, which is told to those who asked."""
        flight = self._under_way.get(key)
        if flight is None:
            return None
        await asyncio.wait([flight])
        return None if flight.cancelled() or flight.exception() is not None else flight.result()

    async def join(self, key: Hashable, start: Callable[[], Awaitable[Answer]]) -> Answer:
        """What `start()` gives, which is called where nobody asks at this moment. Who leaves does not take it from the others; what
        it raises, everybody who waits gets."""
        flight = self._under_way.get(key)
        if flight is None:
            flight = self._under_way[key] = asyncio.ensure_future(start())
            flight.add_done_callback(lambda _: self._under_way.pop(key, None))
        return await asyncio.shield(flight)
