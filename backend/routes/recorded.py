"""What a run has recorded: curves, evaluations, samples, log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import func, select

from backend import logs, metrics, runs, store, views
from backend.models import Evaluation, Sample
from backend.routes.context import Context
from backend.routes.paging import pack, unpack_numbers
from backend.schemas.recorded import (
    Curves,
    EvaluationList,
    LogChunk,
    SampleList,
    Series,
)
from backend.store import Store

router = APIRouter(prefix="/runs/{run_id}", tags=["recorded"])


@router.get("/curves", response_model=Curves)
def get_curves(
    run_id: str,
    context: Context,
    names: Annotated[list[str] | None, Query(description="Metrics; may be given several times. None: all.")] = None,
    after: Annotated[int, Query(ge=-1, lt=2**31, description="Only points of later steps.")] = -1,
    until: Annotated[int | None, Query(ge=0, lt=2**31, description="Only points up to this step.")] = None,
    max_points: Annotated[int, Query(ge=2, le=10_000, description="Thinned to at most this many a metric.")] = 600,
) -> Curves:
    """Scalars of the optimizer steps."""
    with context.database.snapshot() as session:
        run = runs.get(session, run_id)
        known = metrics.names(session, run.id)
        series = metrics.curve(session, run.id, names or known, after, max_points, until)
        fence = run.fence
    last = max((steps[-1] for steps, _ in series.values() if steps), default=after if after >= 0 else None)
    return Curves(
        fence=fence,
        last_step=last,
        names=list(known),
        series={name: Series(steps=list(steps), values=list(values)) for name, (steps, values) in series.items()},
    )


@router.get("/evaluations", response_model=EvaluationList)
def get_evaluations(
    run_id: str,
    context: Context,
    after: Annotated[int, Query(ge=-1, lt=2**31, description="Only evaluations of later steps.")] = -1,
) -> EvaluationList:
    """Evaluations in the order of their steps."""
    with context.database.snapshot() as session:
        run = runs.get(session, run_id)
        rows = session.scalars(
            select(Evaluation).where(Evaluation.run_id == run.id, Evaluation.step > after).order_by(Evaluation.step)
        )
        return EvaluationList(fence=run.fence, items=[views.evaluation(row) for row in rows])


@router.get("/samples", response_model=SampleList)
def get_samples(
    run_id: str,
    context: Context,
    step: Annotated[int | None, Query(ge=0, lt=2**31, description="None: the newest that has samples.")] = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> SampleList:
    """What the policy wrote for the prompts of the fixed evaluation set, at one step."""
    with context.database.snapshot() as session:
        run = runs.get(session, run_id)
        mine = Sample.run_id == run.id
        steps = list(session.scalars(select(Sample.step).where(mine).distinct().order_by(Sample.step)))
        if step is None:
            step = steps[-1] if steps else None
        if step is None:
            return SampleList(steps=[], step=None, items=[], next_cursor=None, total=0)
        chosen = select(Sample).where(mine, Sample.step == step)
        total = session.scalar(select(func.count()).select_from(chosen.subquery())) or 0
        page = chosen.order_by(Sample.prompt_index).limit(limit + 1)
        if cursor is not None:
            [last] = unpack_numbers(cursor, 1)
            page = page.where(Sample.prompt_index > last)
        found = list(session.scalars(page))
    more, found = len(found) > limit, found[:limit]
    return SampleList(
        steps=steps,
        step=step,
        items=[views.sample(row) for row in found],
        next_cursor=pack(found[-1].prompt_index) if more else None,
        total=total,
    )


@router.get("/log", response_model=LogChunk)
def get_log(
    run_id: str,
    context: Context,
    offset: Annotated[
        int | None, Query(ge=0, lt=2**53, description="First byte. None: the last `limit` bytes.")
    ] = None,
    limit: Annotated[int, Query(ge=16, le=1_048_576, description="At most this many bytes.")] = 65_536,
) -> LogChunk:
    """The trainer's output, all attempts. Go on from `next_offset`; a character is never cut in two."""
    with context.database.snapshot() as session:
        uid = runs.get(session, run_id).uid
    location = str(runs.folder(context.settings, uid) / "log.txt")
    keep = Store(context.settings)
    if not keep.is_local and not Path(location).exists():  # its worker has another data folder
        location = keep.location(f"runs/{uid}/log.txt")
    try:
        size = store.size(location)
        start = max(0, size - limit) if offset is None else min(offset, size)
        chunk = b"".join(store.read(location, start, limit))
    except FileNotFoundError:
        return LogChunk(text="", offset=0, next_offset=0, size=0)
    if offset is None and start:  # begin at a line's beginning
        cut = chunk.find(b"\n") + 1
        start, chunk = start + cut, chunk[cut:]
    chunk = _whole_lines(_whole_characters(chunk))
    lines = [logs.readable(line) for line in chunk.decode("utf-8", "replace").split("\n")]
    return LogChunk(text="\n".join(lines), offset=start, next_offset=start + len(chunk), size=size)


def _whole_lines(chunk: bytes) -> bytes:
    """A log of JSON lines is shown as text, for which a line has to be whole."""
    cut = chunk.rfind(b"\n") + 1
    return chunk[:cut] if cut and b'{"time": "' in chunk[cut:] else chunk


def _whole_characters(chunk: bytes) -> bytes:
    """Without the first bytes of a character whose other bytes are yet to come."""
    for back in range(1, min(4, len(chunk)) + 1):
        byte = chunk[-back]
        if byte >= 0xC0:  # a leading byte, of a character of 2, 3 or 4 bytes
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return chunk[:-back] if length > back else chunk
        if byte < 0x80:
            break
    return chunk
