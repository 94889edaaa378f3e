"""Questions asked word for word again: answered at once while nothing is newer, and by the route otherwise."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from starlette.routing import Route

from backend.feed import Feed
from backend.repeats import Repeats, State
from backend.shared_answers import Flights, SharedAnswers
from tests.backend.studio_bench import API, Bench, problem

STATE: State = ("a", 3, "loss", "2.-1", 1)
ROUTE = Route("/figures/{name}/points", lambda: None)


class FeedAt:
    """A feed that has seen one `rev` of every run."""

    def __init__(self, rev: int) -> None:
        self.seen = rev

    def rev(self, uid: str) -> int:
        return self.seen


def asked(query: bytes = b"run=a&rev=3") -> dict[str, Any]:
    return {"path": "/api/v1/figures/loss/points", "query_string": query, "route": ROUTE}


def prepared() -> tuple[Repeats, FeedAt, SharedAnswers[bytes], Flights[bytes]]:
    feed, answers, flights = FeedAt(3), SharedAnswers[bytes](), Flights[bytes]()
    repeats = Repeats(cast(Feed, feed), answers, flights)
    repeats.learn(asked(), STATE)
    return repeats, feed, answers, flights


def test_an_answer_in_memory_is_given_while_the_feed_has_seen_nothing_newer() -> None:
    repeats, feed, answers, _ = prepared()
    answers.get(STATE, lambda: b"points")
    again = asked() | {"route": None}
    assert asyncio.run(repeats.answer(again)) == b"points"
    assert again["route"] is ROUTE  # the request is counted under it
    assert asyncio.run(repeats.answer(asked(b"run=a&rev=2"))) is None
    feed.seen = 4
    assert asyncio.run(repeats.answer(asked())) is None


def test_who_comes_while_it_is_being_made_waits_for_it_and_hears_no_failure_of_others() -> None:
    repeats, _, _, flights = prepared()

    async def come(fails: bool) -> list[Any]:
        gate = asyncio.Event()

        async def make() -> bytes:
            await gate.wait()
            if fails:
                raise ValueError("no")
            return b"points"

        first = asyncio.ensure_future(flights.join(STATE, make))
        await asyncio.sleep(0)
        others = [asyncio.ensure_future(repeats.answer(asked())) for _ in range(2)]
        await asyncio.sleep(0)
        gate.set()
        return await asyncio.gather(first, *others, return_exceptions=True)

    assert asyncio.run(come(fails=False)) == [b"points"] * 3
    [failed, *others] = asyncio.run(come(fails=True))
    assert isinstance(failed, ValueError)
    assert others == [None, None]  # they ask the route, which says what is wrong


def test_nothing_is_answered_to_whom_the_gate_does_not_let_in(bench: Bench) -> None:
    studio = bench.client.app.state.studio  # type: ignore[attr-defined]
    studio.answers.get(STATE, lambda: b'{"secret": true}')
    studio.repeats.learn({"path": f"{API}/figures/loss/points", "query_string": b"run=1"}, STATE)
    studio.feed.rev = lambda _: STATE[1]
    address = f"{API}/figures/loss/points?run=1"
    assert bench.client.get(address).json() == {"secret": True}
    problem(bench.client.get(address, headers={"Host": "elsewhere.example"}), 403)
