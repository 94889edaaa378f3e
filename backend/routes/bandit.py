"""The bandit of the paper's Section 5, simulated while the request waits."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from copg_core.bandit import BanditConfig
from copg_core.bandit_result import POINTS, BanditResult, run_bandit

router = APIRouter(tags=["bandit"])


@router.post("/bandit", response_model=BanditResult)
def simulate_bandit(
    config: BanditConfig,
    points: Annotated[int, Query(ge=2, le=5000, description="At most this many recorded steps.")] = POINTS,
) -> BanditResult:
    """Train every algorithm on one bandit. Nothing is stored; whatever is not given is the paper's."""
    return run_bandit(config, points)
