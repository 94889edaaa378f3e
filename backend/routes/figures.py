"""Figures of a run as JSON, CSV, SVG or PNG, and the points that were added since."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Annotated

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend import runs
from backend.errors import NotFound
from backend.figure_images import image
from backend.figures import catalogue
from backend.figures.data import Cursor, RunData, load
from backend.figures.style import points_alone
from backend.models import Run
from backend.routes.context import Context
from backend.routes.figure_answers import PICTURES, RESPONSES, Format, attached
from backend.schemas.figures import FigureInfo, FigureName, FigureOut, FigurePoints, RunFigures, TracePoints

router = APIRouter(tags=["figures"])

RunId = Annotated[str, Query(description="Id of the run.")]


@router.get("/runs/{run_id}/figures", response_model=RunFigures)
def list_run_figures(run_id: str, context: Context) -> RunFigures:
    """The figures that this run has, most telling first."""
    with context.database.snapshot() as session:
        run = runs.get(session, run_id)
        names = catalogue.names_of(run.algorithm, run.config)
    return RunFigures(items=[FigureInfo(name=name, title=catalogue.FIGURES[name].title) for name in names])


# Hundreds of viewers ask for points at the same moment. They share few threads, so that everybody else finds one free, whoever
# opens a figure among them.
_POINTS = CapacityLimiter(4)
_WHOLE = CapacityLimiter(4)


@router.get(
    "/figures/{name}",
    response_model=FigureOut,
    responses=RESPONSES,
)
async def get_figure(
    name: FigureName,
    run: RunId,
    context: Context,
    format: Format = "json",  # noqa: A002
) -> Response:
    """One figure of one run, at most 600 points a curve."""

    def make() -> bytes:
        with context.database.snapshot() as session:
            data = _data(session, name, run)
        figure = catalogue.FIGURES[name].draw(data)
        if format == "csv":
            return catalogue.as_csv(figure).encode()
        if format != "json":
            return image(figure, format)
        return _json(
            FigureOut(
                figure=catalogue.as_json(figure),
                cursor=str(data.cursor),
                fence=data.fence,
                empty=catalogue.is_empty(figure),
            )
        )

    if format in ("svg", "png"):
        return attached(format, f"{run}-{name}", await to_thread.run_sync(make, limiter=PICTURES))
    content = await _shared(context, run, (name, format), make, _WHOLE)
    if format == "json":
        return Response(content, media_type="application/json")
    return attached(format, f"{run}-{name}", content)


@router.get("/figures/{name}/points", response_model=FigurePoints)
async def get_figure_points(
    name: FigureName,
    run: RunId,
    context: Context,
    request: Request,
    after: Annotated[str, Query(pattern=r"^-?\d{1,12}\.-?\d{1,12}$", description="`cursor` of the answer before.")],
    fence: Annotated[int, Query(description="`fence` of the answer before.")],
    rev: Annotated[
        int | None,
        Query(
            ge=0,
            lt=2**53,
            description="`rev` of the run as the caller was told it: what is answered is of this state or a later one.",
        ),
    ] = None,
) -> Response:
    """What to append to each trace of a figure that was fetched before."""
    cursor = Cursor.parse(after)

    def make() -> bytes:
        with context.database.snapshot() as session:
            data = _data(session, name, run, after=cursor)
        if data.fence != fence or (cursor.is_start and not data.cursor.is_start):
            # Another attempt may have dropped points; and the first evaluation decides how a figure's axes are laid out.
            return _json(FigurePoints(cursor=str(data.cursor), fence=data.fence, reset=True, traces=[]))
        with points_alone():
            traces = catalogue.points_after(catalogue.FIGURES[name].draw(data), cursor)
        return _json(
            FigurePoints(
                cursor=str(data.cursor),
                fence=data.fence,
                reset=False,
                traces=[TracePoints(x=xs, y=ys) for xs, ys in traces],
            )
        )

    async def ask() -> bytes:
        return await _shared(context, run, (name, after, fence), make, _POINTS)

    seen = context.feed.rev(run)
    if rev is not None and seen is not None and seen >= rev:
        # Then the database need not be asked how new the run is; and of those who were told it at the same moment, one asks.
        state = (run, seen, name, after, fence)
        context.repeats.learn(request.scope, state)
        content = context.answers.ready(state) or await context.flights.join(state, ask)
    else:
        content = await ask()
    return Response(content, media_type="application/json")


async def _shared(
    context: Context, run: str, question: tuple[Hashable, ...], make: Callable[[], bytes], threads: CapacityLimiter
) -> bytes:
    """Whoever looks at the same state of a run asks for the same figure: it is drawn once."""

    def find() -> bytes:
        with context.database.engine.connect().execution_options(read_only=True) as connection:
            rev = connection.scalar(select(Run.rev).where(Run.uid == run))
        return context.answers.get((run, rev, *question), make)

    return await to_thread.run_sync(find, limiter=threads)


def _json(answer: BaseModel) -> bytes:
    return answer.model_dump_json().encode()


def _data(session: Session, name: FigureName, run_id: str, *, after: Cursor | None = None) -> RunData:
    run = runs.get(session, run_id)
    if name not in catalogue.names_of(run.algorithm, run.config):
        raise NotFound(f"a run of this kind has no figure {name!r}: ask /runs/{run_id}/figures")
    return load(session, run, catalogue.FIGURES[name].metrics, after=after)
