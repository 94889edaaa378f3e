"""Figures of a data set: JSON, CSV, SVG or PNG."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from backend import data_sets
from backend.errors import NotFound
from backend.figures import catalogue
from backend.figures import data_sets as figures
from backend.routes.context import Context
from backend.routes.figure_answers import RESPONSES, Format, file

router = APIRouter(tags=["figures"])
DataFigureName = Literal["contrast", "prompt_lengths", "completion_lengths"]


class DataFigureOut(BaseModel):
    """A Plotly figure of a data set."""

    title: str
    figure: dict[str, Any] = Field(description="As plotly.js takes it.")


@router.get(
    "/figures/data/{dataset_id}/{figure}",
    response_model=DataFigureOut,
    responses=RESPONSES,
)
def get_data_figure(
    dataset_id: str,
    figure: DataFigureName,
    context: Context,
    format: Format = "json",  # noqa: A002
) -> DataFigureOut | Response:
    """One figure of a data set that was analysed."""
    with context.database.snapshot() as session:
        report = data_sets.get(session, dataset_id).report
    if report is None or figure not in figures.names_of(report):
        raise NotFound(f"this data set has no figure {figure!r}: ask /datasets/{dataset_id} which it has")
    made = figures.FIGURES[figure].draw(report)
    if format != "json":
        return file(format, f"{dataset_id}-{figure}", made, lambda: figures.as_csv(made))
    return DataFigureOut(title=figures.FIGURES[figure].title, figure=catalogue.as_json(made))
