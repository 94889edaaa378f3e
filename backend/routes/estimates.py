"""What a run would cost, asked by the launch page while its form is filled in."""

from __future__ import annotations

from fastapi import APIRouter

from backend.estimates import EstimateOut, EstimateRequest, estimates
from backend.routes.context import Context
from backend.runs import check_reward

router = APIRouter(prefix="/runs", tags=["runs"])


@router.post("/estimate", response_model=EstimateOut)
def estimate_a_run(body: EstimateRequest, context: Context) -> EstimateOut:
    """Memory and time of a run, by their parts, for each kind of device; and in a sentence whether it fits."""
    check_reward(body.config)
    with context.database.snapshot() as session:
        return estimates(session, body, context.settings)
