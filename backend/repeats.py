"""Whoever asks word for word what was asked a moment ago is answered before any route is looked for.

Ten viewers of a run that were told of a point at the same moment ask for it by the same address. The answer lies in memory, and to
bring each of them there through routing and validation costs several times what the answer does.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.feed import Feed
from backend.shared_answers import Flights, SharedAnswers

State = tuple[str, int, str, str, int]
"""A run and its `rev`; the figure, cursor and fence that were asked for."""
_MOST = 1024


@dataclass(frozen=True)
class _Asked:
    state: State
    route: Any


class Repeats:
    """Which addresses ask for which answer. Of the event loop's thread alone."""

    def __init__(self, feed: Feed, answers: SharedAnswers[bytes], flights: Flights[bytes]) -> None:
        self._feed, self._answers, self._flights = feed, answers, flights
        self._asked: OrderedDict[tuple[str, bytes], _Asked] = OrderedDict()

    def learn(self, scope: Scope, state: State) -> None:
        """Said by a route: what this request asks for is the answer of `state`, for as long as the feed has seen nothing newer."""
        self._asked[scope["path"], scope["query_string"]] = _Asked(state, scope.get("route"))
        while len(self._asked) > _MOST:
            self._asked.popitem(last=False)

    async def answer(self, scope: Scope) -> bytes | None:
        """The answer that is there or on its way; None where a route has to find it."""
        asked = self._asked.get((scope["path"], scope["query_string"]))
        if asked is None or self._feed.rev(asked.state[0]) != asked.state[1]:
            return None
        found = self._answers.ready(asked.state)
        if found is None:
            found = await self._flights.share(asked.state)
        if found is not None:
            scope["route"] = asked.route  # under whose name the request is counted
        return found


class AnsweredBefore:
    """ASGI middleware, behind the gate: who comes here may read."""

    def __init__(self, app: ASGIApp, repeats: Repeats) -> None:
        self._app, self._repeats = app, repeats

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        content = await self._repeats.answer(scope) if scope["type"] == "http" and scope["method"] == "GET" else None
        if content is None:
            await self._app(scope, receive, send)
        else:
            await Response(content, media_type="application/json")(scope, receive, send)
