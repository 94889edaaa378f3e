"""The figure of a sweep as Plotly JSON or CSV."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from backend import sweeps
from backend.figures import catalogue, final_reward, sweep_results
from backend.routes.context import Context
from backend.schemas.figures import FigureOut

router = APIRouter(tags=["figures"])


@router.get(
    "/figures/final_reward",
    response_model=FigureOut,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def get_final_reward(
    sweep: Annotated[str, Query(description="Id of the sweep.")],
    context: Context,
    format: Annotated[Literal["json", "csv"], Query(description="Plotly JSON, or the numbers drawn as CSV.")] = "json",  # noqa: A002
) -> FigureOut | Response:
    """Final reward of each run of a sweep against beta, or against what it varies instead, by algorithm."""
    with context.database.snapshot() as session:
        results, title, before = sweep_results.load(session, sweeps.get(session, sweep))
    if format == "csv":
        return Response(
            final_reward.as_csv(results, title),
            media_type="text/csv",
            headers={"Content-Disposition": f'attachment; filename="{sweep}-final_reward.csv"'},
        )
    drawn = final_reward.final_reward(results, title, before)
    return FigureOut(figure=catalogue.as_json(drawn), cursor="", fence=0, empty=not results)
