"""Completions for the same prompts, side by side over steps and over runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, get_args

from fastapi import APIRouter, Query, Response

from backend import side_by_side
from backend.errors import Invalid
from backend.figures import catalogue, compare
from backend.figures import samples as figures
from backend.routes.context import Context
from backend.routes.figure_answers import RESPONSES, Format, file
from backend.routes.paging import Cursor, pack, unpack_numbers
from backend.schemas.figures import FigureOut
from backend.schemas.samples import Cell, Piece, SamplesColumn, SamplesCounts, SamplesRow, SamplesSideBySide
from backend.side_by_side import MOST_COLUMNS, Column, Measure, Only, Order, Row

router = APIRouter(prefix="/samples", tags=["recorded"])

Columns = Annotated[
    list[str],
    Query(
        min_length=1,
        description=f"RUN@STEP, where STEP is a number, `first` or `last`; given once for each column, at most {MOST_COLUMNS} "
        "times. The others are compared with the first one: RUN@first is the reference's own writing.",
    ),
]


@router.get("", response_model=SamplesSideBySide)
def list_samples_side_by_side(
    context: Context,
    column: Columns,
    focus: Annotated[
        int | None, Query(ge=0, description="Place of the column to sort and filter by. None: the last.")
    ] = None,
    sort: Annotated[Order, Query(description="`gain` and `loss`: of reward over the first column.")] = "prompt",
    only: Annotated[Only | None, Query(description="Which prompts. None: all.")] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> SamplesSideBySide:
    """What policies wrote for the same prompts. Each completion is one draw: differences are chance as well as training."""
    with context.database.snapshot() as session:
        columns = side_by_side.load(session, column)
        if focus is None:
            focus = len(columns) - 1
        if focus >= len(columns):
            raise Invalid.field("focus", f"there is no column {focus}: the last one is {len(columns) - 1}")
        every = side_by_side.rows(columns, focus, sort)
        kept = [row for row in every if only is None or row.is_one_of(only)]
        # A list that is sorted anew with each evaluation has no place of its own to go on from: rows are counted.
        start = int(unpack_numbers(cursor, 1)[0]) if cursor is not None else 0
        shown = kept[max(0, start) : max(0, start) + limit]
        texts = side_by_side.texts(session, columns, shown)
        labels = figures.labels(columns)
    return SamplesSideBySide(
        columns=[
            _column(one, label, why)
            for one, label, why in zip(columns, labels, side_by_side.apart(columns, "reward"), strict=True)
        ],
        focus=focus,
        items=[_row(row, texts) for row in shown],
        total=len(kept),
        prompts=len(every),
        counts=SamplesCounts(**{name: sum(row.is_one_of(name) for row in every) for name in get_args(Only)}),
        has_gold=_has_gold(columns),
        next_cursor=pack(start + limit) if len(kept) > start + limit else None,
    )


@router.get(
    "/figures/{name}",
    response_model=FigureOut,
    responses=RESPONSES,
)
def get_samples_figure(
    name: Measure,
    context: Context,
    column: Columns,
    format: Format = "json",  # noqa: A002
) -> FigureOut | Response:
    """Histogram of the rewards or lengths of each column's completions."""
    with context.database.snapshot() as session:
        drawn = figures.histogram(side_by_side.load(session, column), name)
    if format != "json":
        return file(format, f"samples-{name}", drawn, lambda: compare.as_csv(drawn))
    return FigureOut(figure=catalogue.as_json(drawn), cursor="", fence=0, empty=compare.is_empty(drawn))


def _column(column: Column, label: str, not_comparable: str | None) -> SamplesColumn:
    return SamplesColumn(
        run=column.run.uid, name=column.run.name, algorithm=column.run.algorithm, label=label, step=column.step,
        steps=list(column.steps), n=len(column.scores), reward_mean=_mean(column.values("reward")),
        gold_mean=_mean(column.values("gold")), length_mean=_mean(column.values("length")),
        unfinished=sum(not score.finished for score in column.scores.values()), not_comparable=not_comparable,
    )  # fmt: skip


def _row(row: Row, texts: Sequence[dict[str, tuple[str, str]]]) -> SamplesRow:
    written = [of_column.get(row.key) for of_column in texts]
    prompt = next((one[0] for one in written if one is not None), "")
    first = written[0]
    cells: list[Cell | None] = []
    for place, (score, text) in enumerate(zip(row.scores, written, strict=True)):
        if score is None or text is None:
            cells.append(None)
            continue
        completion = text[1]
        pieces = [(completion, False)] if place == 0 or first is None else side_by_side.marked(first[1], completion)
        cells.append(
            Cell(
                pieces=[Piece(text=piece, new=new) for piece, new in pieces],
                same=place > 0 and first is not None and first[1] == completion,
                reward=score.reward, gold=score.gold, kl=score.kl, length=score.length, finished=score.finished,
                gain=row.gain_of(place) if place else None,
            )
        )  # fmt: skip
    return SamplesRow(key=row.key, prompt=prompt, cells=cells, gain=row.gain)


def _has_gold(columns: Sequence[Column]) -> bool:
    return any(
        score.gold is not None
        for column in columns
        if (column.run.config.get("reward") or {}).get("kind") != "gold"
        for score in column.scores.values()
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
