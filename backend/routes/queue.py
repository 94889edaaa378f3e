"""The line of runs: who waits for what, and the switch that stops handing runs out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from backend import nodes, queue_control, standing, who
from backend.errors import Conflict, NotFound
from backend.routes.context import Context
from backend.schemas.queue import QueueOut, QueueState
from copg_core.estimate import duration

router = APIRouter(tags=["system"])


@router.get("/queue", response_model=QueueOut)
def get_queue(context: Context, limit: Annotated[int, Query(ge=1, le=500)] = 100) -> QueueOut:
    """Queued and waiting runs in the order in which they will start, each with what it waits for."""
    with context.database.snapshot() as session:
        return standing.standing(session, context.settings, limit)


@router.post("/queue/pause", response_model=QueueState)
def pause_queue(context: Context) -> QueueState:
    """Hand out no more runs; what trains goes on. Asked again, nothing changes."""
    with context.database.transaction() as session:
        return standing.queue_state(queue_control.pause(session, who.actor()))


@router.post("/queue/resume", response_model=QueueState)
def resume_queue(context: Context) -> QueueState:
    """Hand out runs again."""
    with context.database.transaction() as session:
        switch = queue_control.resume(session)
    context.wake()
    return standing.queue_state(switch)


@router.post("/workers/{name:path}/drain", status_code=202)
def drain_worker(name: str, context: Context) -> None:
    """Ask a worker to leave, as SIGTERM does: its runs write a checkpoint and go back to the queue, uncounted.

    Under `copg up` a fresh worker takes its place; pause the queue first to keep the runs from starting there.
    """
    with context.database.transaction() as session:
        silent = nodes.silent_seconds(session, name)
        if silent is None or (silent <= context.settings.lease_seconds and not nodes.request_drain(session, name)):
            raise NotFound(f"no worker is called {name!r}: it may have left already")
    if silent > context.settings.lease_seconds:
        raise Conflict(
            f"worker {name!r} has not been heard of for {duration(silent)}, so nobody there can be asked to leave. Its runs go back "
            "to the queue by themselves"
        )
