"""One answer for many askers: made once, never kept when it failed, never more than fit."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from backend.shared_answers import Flights, SharedAnswers


def test_who_asks_meanwhile_waits_for_the_first() -> None:
    answers = SharedAnswers()
    started, release = threading.Event(), threading.Event()
    made: list[str] = []

    def slowly() -> bytes:
        made.append("once")
        started.set()
        release.wait(20)
        return b"answer"

    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(answers.get, "key", slowly)
        started.wait(20)
        others = [pool.submit(answers.get, "key", slowly) for _ in range(7)]
        assert not any(one.done() for one in others)
        assert answers.ready("key") is None  # and waits for nobody
        release.set()
        assert {one.result(20) for one in (first, *others)} == {b"answer"}
    assert made == ["once"]
    assert (answers.ready("key"), answers.ready("another")) == (b"answer", None)


def test_failure_is_passed_on_and_tried_again() -> None:
    answers = SharedAnswers()

    def fail() -> bytes:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        answers.get("key", fail)
    assert answers.ready("key") is None
    assert answers.get("key", lambda: b"now") == b"now"


def test_only_the_last_ones_are_kept() -> None:
    answers = SharedAnswers(size=2)
    for key in ("a", "b"):
        answers.get(key, lambda: b"first")
    answers.get("a", lambda: b"second")  # asked for again: b is the oldest now
    answers.get("c", lambda: b"first")
    assert answers.get("a", lambda: b"second") == b"first"
    assert answers.get("b", lambda: b"second") == b"second"


def test_who_asks_while_an_answer_is_on_its_way_joins_its_flight() -> None:
    async def all_of_it() -> None:
        flights: Flights[bytes] = Flights()
        land = asyncio.Event()
        started: list[int] = []

        async def ask() -> bytes:
            started.append(1)
            await land.wait()
            return b"answer"

        crowd = [asyncio.create_task(flights.join("key", ask)) for _ in range(8)]
        other = asyncio.create_task(flights.join("another", ask))
        await asyncio.sleep(0)
        crowd[0].cancel()  # a browser that goes away takes nothing from the others, even the one that asked first
        await asyncio.sleep(0)
        land.set()
        assert set(await asyncio.gather(*crowd[1:], other)) == {b"answer"}
        assert len(started) == 2
        assert await flights.join("key", ask) == b"answer"
        assert len(started) == 3, "an answer that has landed is not kept here"

        async def fail() -> bytes:
            raise ValueError("no")

        outcomes = await asyncio.gather(*(flights.join("key", fail) for _ in range(3)), return_exceptions=True)
        assert [str(one) for one in outcomes] == ["no"] * 3
        assert await flights.join("key", ask) == b"answer"

    asyncio.run(all_of_it())
