"""The live feed: one stream of server-sent events for each browser."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import APIRouter
from fastapi.sse import EventSourceResponse, ServerSentEvent

from backend.routes.context import Context
from backend.routes.system import VERSION

router = APIRouter(tags=["live"])


@router.get("/events", response_class=EventSourceResponse)
async def stream_events(context: Context) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events. `hello` {version} on connect; `run`: a RunSummary that is new or changed; `deleted` {id};
    `resync` {}: changes were skipped, fetch what you show again. Comments keep the connection open."""
    with context.feed.subscribe() as viewer:
        yield ServerSentEvent(event="hello", data={"version": VERSION}, retry=1000)
        async for event, data in viewer:
            yield ServerSentEvent(event=event, raw_data=data)
