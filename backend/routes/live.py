"""The live feed: one stream of server-sent events for each browser."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from backend.feed import frame
from backend.routes.context import Context
from backend.routes.system import VERSION

router = APIRouter(tags=["live"])

_PING_SECONDS = 15.0


class EventStream(StreamingResponse):
    """Bytes of server-sent events. FastAPI's own passes each event through two queues, for each of its viewers anew."""

    media_type = "text/event-stream"


@router.get("/events", response_class=EventStream)
async def stream_events(context: Context) -> EventStream:
    """Server-sent events. `hello` {version, quiet_seconds} once nothing is missed any more, with the time since the
    last change; `run`: a RunSummary that is new or changed; `deleted` {id}; `resync` {}: changes were skipped, fetch what
    you show again. Comments keep the connection open."""

    async def events() -> AsyncIterator[bytes]:
        with context.feed.subscribe() as viewer:
            hello = {"version": VERSION, "quiet_seconds": round(context.feed.quiet_seconds, 3)}
            yield frame(("hello", json.dumps(hello))) + b"retry: 1000\n\n"
            async for batch in viewer.batches(_PING_SECONDS):
                yield b"".join(map(frame, batch)) or b": nothing new\n\n"

    return EventStream(events(), headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
