"""The figure of a sweep: JSON, CSV, SVG or PNG."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from backend import sweeps
from backend.figures import catalogue, final_reward, sweep_results
from backend.figures.compare_curves import warned
from backend.routes.context import Context
from backend.routes.figure_answers import RESPONSES, Format, file
from backend.schemas.figures import FigureOut

router = APIRouter(tags=["figures"])


@router.get(
    "/figures/final_reward",
    response_model=FigureOut,
    responses=RESPONSES,
)
def get_final_reward(
    sweep: Annotated[str, Query(description="Id of the sweep.")],
    context: Context,
    format: Format = "json",  # noqa: A002
) -> FigureOut | Response:
    """Final reward of each run of a sweep against beta, or against what it varies instead, by algorithm."""
    with context.database.snapshot() as session:
        results, title, before, apart = sweep_results.load(session, sweeps.get(session, sweep))
    drawn = warned(final_reward.final_reward(results, title, before), apart)
    if format != "json":
        return file(format, f"{sweep}-final_reward", drawn, lambda: final_reward.as_csv(results, title))
    return FigureOut(figure=catalogue.as_json(drawn), cursor="", fence=0, empty=not results)
