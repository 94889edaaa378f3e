"""Figures of a run as Plotly JSON or CSV, and the points that were added since."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from sqlalchemy.orm import Session

from backend import runs
from backend.errors import NotFound
from backend.figures import catalogue
from backend.figures.data import Cursor, RunData, load
from backend.routes.context import Context
from backend.schemas import FigureInfo, FigureName, FigureOut, FigurePoints, RunFigures, TracePoints

router = APIRouter(tags=["figures"])

RunId = Annotated[str, Query(description="Id of the run.")]


@router.get("/runs/{run_id}/figures", response_model=RunFigures)
def list_run_figures(run_id: str, context: Context) -> RunFigures:
    """The figures that this run has, most telling first."""
    with context.database.snapshot() as session:
        run = runs.get(session, run_id)
        names = catalogue.names_of(run.algorithm, run.config)
    return RunFigures(items=[FigureInfo(name=name, title=catalogue.FIGURES[name].title) for name in names])


@router.get(
    "/figures/{name}",
    response_model=FigureOut,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def get_figure(
    name: FigureName,
    run: RunId,
    context: Context,
    format: Annotated[Literal["json", "csv"], Query(description="Plotly JSON, or the numbers drawn as CSV.")] = "json",  # noqa: A002
) -> FigureOut | Response:
    """One figure of one run, at most 600 points a curve."""
    with context.database.snapshot() as session:
        data = _data(session, name, run)
    figure = catalogue.FIGURES[name].draw(data)
    if format == "csv":
        return Response(
            catalogue.as_csv(figure),
            media_type="text/csv",
            headers={"Content-Disposition": f'attachment; filename="{run}-{name}.csv"'},
        )
    return FigureOut(
        figure=catalogue.as_json(figure), cursor=str(data.cursor), fence=data.fence, empty=catalogue.is_empty(figure)
    )


@router.get("/figures/{name}/points", response_model=FigurePoints)
def get_figure_points(
    name: FigureName,
    run: RunId,
    context: Context,
    after: Annotated[str, Query(pattern=r"^-?\d{1,12}\.-?\d{1,12}$", description="`cursor` of the answer before.")],
    fence: Annotated[int, Query(description="`fence` of the answer before.")],
) -> FigurePoints:
    """What to append to each trace of a figure that was fetched before."""
    cursor = Cursor.parse(after)
    with context.database.snapshot() as session:
        data = _data(session, name, run, after=cursor)
    if data.fence != fence or (cursor.is_start and not data.cursor.is_start):
        # Another attempt may have dropped points; and the first evaluation decides how a figure's axes are laid out.
        return FigurePoints(cursor=str(data.cursor), fence=data.fence, reset=True, traces=[])
    traces = catalogue.points_after(catalogue.FIGURES[name].draw(data), cursor)
    return FigurePoints(
        cursor=str(data.cursor),
        fence=data.fence,
        reset=False,
        traces=[TracePoints(x=xs, y=ys) for xs, ys in traces],
    )


def _data(session: Session, name: FigureName, run_id: str, *, after: Cursor | None = None) -> RunData:
    run = runs.get(session, run_id)
    if name not in catalogue.names_of(run.algorithm, run.config):
        raise NotFound(f"a run of this kind has no figure {name!r}: ask /runs/{run_id}/figures")
    return load(session, run, catalogue.FIGURES[name].metrics, after=after)
