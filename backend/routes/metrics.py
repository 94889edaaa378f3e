"""GET /metrics: for Prometheus. Whoever may read runs may read it (scope `read`)."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from backend.routes.context import Context
from backend.state_metrics import state_metrics
from backend.telemetry import api_metrics

router = APIRouter(include_in_schema=False)


@router.get("/metrics")
def get_metrics(context: Context) -> Response:
    """Runs, queue and workers as SQL has them now, and what this API counted of itself. Text format of Prometheus."""
    state = state_metrics(context.database, context.settings.lease_seconds)
    return Response(state + api_metrics(), media_type=CONTENT_TYPE_LATEST)
