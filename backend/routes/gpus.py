"""Figures of what the workers' GPUs did: JSON, CSV, SVG or PNG."""

from __future__ import annotations

from typing import Annotated

import plotly.graph_objects as go
from fastapi import APIRouter, Query, Response

from backend import gpu_history
from backend.figures import catalogue, gpus
from backend.figures.gpus import GpuFigureName
from backend.gpu_history import KEPT_HOURS, POINTS, History
from backend.routes.context import Context
from backend.routes.figure_answers import RESPONSES, Format, file
from backend.schemas.figures import GpuFigureOut
from backend.views import moment

router = APIRouter(tags=["figures"])


@router.get(
    "/workers/figures/{name}",
    response_model=GpuFigureOut,
    responses=RESPONSES,
)
def get_gpu_figure(
    name: GpuFigureName,
    context: Context,
    hours: Annotated[
        int, Query(ge=1, le=KEPT_HOURS, description=f"How far back. A GPU has about {POINTS} points.")
    ] = 1,
    host: Annotated[str | None, Query(max_length=120, description="Only the GPUs of this machine.")] = None,
    minutes_east: Annotated[
        int, Query(ge=-840, le=840, description="Of UTC: whose clocks the axis shows. CSV is in UTC.")
    ] = 0,
    format: Format = "json",  # noqa: A002
) -> Response:
    """How busy the GPUs of all workers were, or how much of their memory was taken."""

    def load() -> tuple[History, go.Figure]:
        with context.database.snapshot() as session:
            history = gpu_history.load(session, hours, host)
        return history, gpus.DRAW[name](history, minutes_east)

    def make() -> bytes:
        history, drawn = load()
        reason = gpus.nothing(name, history, hours)
        answer = GpuFigureOut(
            figure=catalogue.as_json(drawn), cursor="", fence=0, empty=bool(reason), reason=reason,
            hosts=list(history.hosts), sampled_at=moment(history.newest), width_seconds=history.width,
        )  # fmt: skip
        return answer.model_dump_json().encode()

    if format != "json":
        history, drawn = load()
        return file(format, f"{name}-{hours}h", drawn, lambda: gpus.as_csv(name, history))
    with context.database.snapshot() as session:
        now, newest = gpu_history.newest(session)
    # Time changes what is drawn too: without heartbeats the axis goes on, a point's width at once.
    state = (name, hours, host, minutes_east, newest, now // gpu_history.width(hours))
    return Response(context.gpus.get(state, make), media_type="application/json")
