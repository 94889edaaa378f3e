"""Metric points of runs: an idempotent append, and curves read after a cursor, thinned without losing their spikes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import BigInteger, ColumnElement, Double, Integer, bindparam, cast, func, literal, null, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from backend.models import Metric, MetricPoint
from backend.statistics import as_values

Curve = tuple[list[int], list[float | None]]
Steps = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


def upsert(session: Session, table: Any, rows: Sequence[Mapping[str, Any]], key: Sequence[str]) -> None:
    """INSERT the rows; where `key` exists already, overwrite it: a batch that is shipped twice stands once.

    Rows are dicts by column name and all have the same columns. A doubtful COMMIT may thus simply be tried again.
    """
    if not rows:
        return
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table)
    changed = {name: statement.excluded[name] for name in rows[0] if name not in key}
    statement = (
        statement.on_conflict_do_update(index_elements=list(key), set_=changed)
        if changed
        else statement.on_conflict_do_nothing(index_elements=list(key))
    )
    session.execute(statement, list(rows))


def append(session: Session, run_id: int, points: Mapping[int, Mapping[str, float | None]]) -> None:
    """Write `points[step][name] = value`; a step and name that stand already are overwritten. NaN and inf become NULL."""
    wanted = {name for values in points.values() for name in values}
    if not wanted:
        return
    ids = _metric_ids(session, wanted)
    rows = [
        (run_id, ids[name], step, _finite(value)) for step, values in points.items() for name, value in values.items()
    ]
    names = ("run_id", "metric_id", "step", "value")
    if session.get_bind().dialect.name == "postgresql":
        _insert_columns(session, dict(zip(names, zip(*rows, strict=True), strict=True)))
    else:
        upsert(session, MetricPoint.__table__, [dict(zip(names, row, strict=True)) for row in rows], names[:3])


def _insert_columns(session: Session, columns: Mapping[str, Sequence[Any]]) -> None:
    """Upsert points as one array for each column: several times as fast as a row at a time over PostgreSQL's protocol."""
    kinds = {"run_id": BigInteger, "metric_id": Integer, "step": Integer, "value": Double}
    unnested = [
        func.unnest(cast(literal(list(columns[name]), postgresql.ARRAY(kind)), postgresql.ARRAY(kind)))
        for name, kind in kinds.items()
    ]
    statement = postgresql.insert(MetricPoint).from_select(list(kinds), select(*unnested))
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["run_id", "metric_id", "step"], set_={"value": statement.excluded.value}
        )
    )


def names(session: Session, run_id: int) -> list[str]:
    """Every metric that the run has, in alphabetical order."""
    has_points = select(MetricPoint.step).where(MetricPoint.run_id == run_id, MetricPoint.metric_id == Metric.id)
    return list(session.scalars(select(Metric.name).where(has_points.exists()).order_by(Metric.name)))


def curve(
    session: Session, run_id: int, names: Iterable[str], after: int | None = None, max_points: int = 1000,
    until: int | None = None,
) -> dict[str, Curve]:  # fmt: skip
    """The points of each name with `after` < step <= `until` (None: no bound), at most `max_points` (>= 2) for each name.

    A longer curve is thinned in the database to its first and last point and the smallest and largest value of equal
    stretches of steps. Every point that is kept is a point that was measured; a mean would hide the very spike that one
    looks for. A name that the run does not have gives an empty curve.
    """
    wanted = list(names)
    ids = _known_ids(session, wanted)
    result: dict[str, Curve] = {name: ([], []) for name in wanted}
    for name, metric_id in ids.items():
        if after is not None and after >= 0 and until is None:
            # Whoever follows a run asks for a few points, again and again: one statement, made once.
            tail = session.execute(
                _TAIL, {"run": run_id, "metric": metric_id, "after": after, "most": max_points + 1}
            ).all()
            if len(tail) <= max_points:
                result[name] = [row[0] for row in tail], [row[1] for row in tail]
                continue
        where = [MetricPoint.run_id == run_id, MetricPoint.metric_id == metric_id]
        if after is not None:
            where.append(MetricPoint.step > after)
        if until is not None:
            where.append(MetricPoint.step <= until)
        some = select(literal(1)).where(*where).limit(max_points + 1).subquery()
        count = select(func.count()).select_from(some).scalar_subquery()
        packs = session.get_bind().dialect.name == "postgresql"
        ends: Any = session.execute(select(*_ends(where), null() if packs else count)).one()
        first, last, size = ends
        if first is None:
            continue
        if packs and last - first <= _MOST_PACKED:
            steps, values = _packed(session, where)
            if len(steps) > max_points:
                steps, values = _extremes_of_packed(steps, values, max_points)
            result[name] = steps.tolist(), as_values(values)
            continue
        if (session.scalar(select(count)) or 0 if size is None else size) <= max_points:
            rows: Sequence[Any] = session.execute(select(*_POINT).where(*where).order_by(MetricPoint.step)).all()
        else:
            rows = _thinned(session, run_id, metric_id, first, last, max_points)
        result[name] = [row[0] for row in rows], [row[1] for row in rows]
    return result


def _ends(where: Sequence[ColumnElement[bool]]) -> list[ColumnElement[int | None]]:
    """First and last step, each from an end of the index."""
    return [select(end(MetricPoint.step)).where(*where).scalar_subquery() for end in (func.min, func.max)]


def _known_ids(session: Session, wanted: Sequence[str]) -> dict[str, int]:
    """Ids of the names that exist. They never change, so a session asks for each once: pages read many curves in a row."""
    known: dict[str, int] = session.info.setdefault("metric_ids", {})
    if asked := [name for name in wanted if name not in known]:
        query = select(Metric.name, Metric.id).where(Metric.name.in_(asked))
        known.update((row.name, row.id) for row in session.execute(query))
    return {name: known[name] for name in wanted if name in known}


_POINT = (MetricPoint.step, MetricPoint.value)
_TAIL = (
    select(*_POINT)
    .where(
        MetricPoint.run_id == bindparam("run"),
        MetricPoint.metric_id == bindparam("metric"),
        MetricPoint.step > bindparam("after"),
    )
    .order_by(MetricPoint.step)
    .limit(bindparam("most", type_=Integer))
)
# SQLite would sort the points to group them by stretch. Asked for each stretch, it walks through the index, and a bare column beside
# min() or max() is that of the row which holds it.
_EXTREMES = text("""
    WITH RECURSIVE
    stretch(low) AS (SELECT :first + 1 UNION ALL SELECT low + :width FROM stretch WHERE low + :width < :last),
    extreme AS MATERIALIZED (
        SELECT
            (SELECT step FROM (SELECT step, min(value) FROM metric_point WHERE run_id = :run AND metric_id = :metric
                AND step >= low AND step < min(low + :width, :last) AND value IS NOT NULL)) AS lowest,
            (SELECT step FROM (SELECT step, max(value) FROM metric_point WHERE run_id = :run AND metric_id = :metric
                AND step >= low AND step < min(low + :width, :last) AND value IS NOT NULL)) AS highest
        FROM stretch)
    SELECT point.step, point.value FROM extreme JOIN metric_point AS point
        ON point.run_id = :run AND point.metric_id = :metric AND point.step IN (lowest, highest)
""")
_MOST_PACKED = 200_000  # points that PostgreSQL sends packed: 2.4 MB, for a moment


def _thinned(
    session: Session, run_id: int, metric_id: int, first: int, last: int, max_points: int
) -> list[tuple[int, float | None]]:
    mine = (MetricPoint.run_id == run_id, MetricPoint.metric_id == metric_id)
    ends = select(*_POINT).where(*mine, MetricPoint.step.in_((first, last)))
    kept: dict[int, float | None] = {row[0]: row[1] for row in session.execute(ends)}
    if stretches := (max_points - 2) // 2:
        width = math.ceil((last - first - 1) / stretches)
        inside = (*mine, MetricPoint.step > first, MetricPoint.step < last, MetricPoint.value.is_not(None))
        if session.get_bind().dialect.name != "postgresql":
            where = {"run": run_id, "metric": metric_id, "first": first, "last": last, "width": width}
            kept.update((step, value) for step, value in session.execute(_EXTREMES, where))
        else:
            kept.update(_extremes_by_array(session, inside, (MetricPoint.step - first - 1) // width))
    return sorted(kept.items())


def _packed(session: Session, where: Sequence[ColumnElement[bool]]) -> tuple[Steps, Values]:
    """The points by step, NaN where a value is missing, as two strings of bytes: a row of its own for each point takes twice as long."""
    nothing = cast(literal(b""), postgresql.BYTEA)
    value = func.coalesce(MetricPoint.value, cast(literal("NaN"), Double))
    packed = select(
        func.string_agg(func.int4send(MetricPoint.step), nothing), func.string_agg(func.float8send(value), nothing)
    )
    steps_sent, values_sent = session.execute(packed.where(*where)).one()  # in whatever order PostgreSQL reads them
    if steps_sent is None:  # they were deleted since they were counted
        return np.empty(0, dtype=np.int64), np.empty(0)
    steps, values = np.frombuffer(steps_sent, ">i4").astype(np.int64), np.frombuffer(values_sent, ">f8").astype(float)
    order = np.argsort(steps, kind="stable")
    return steps[order], values[order]


def _extremes_of_packed(steps: Steps, values: Values, max_points: int) -> tuple[Steps, Values]:
    """The first and the last point, and the smallest and largest value of each stretch between."""
    kept = {0, len(steps) - 1}
    stretches = (max_points - 2) // 2
    inside = 1 + np.flatnonzero(np.isfinite(values[1:-1]))
    if stretches and len(inside):
        width = math.ceil((steps[-1] - steps[0] - 1) / stretches)
        of = values[inside]
        begins = np.flatnonzero(np.diff((steps[inside] - steps[0] - 1) // width, prepend=-1))  # of those with a point
        sizes = np.diff(begins, append=len(inside))
        for extreme in (np.minimum, np.maximum):
            hits = np.flatnonzero(of == np.repeat(extreme.reduceat(of, begins), sizes))
            firsts = hits[np.unique(np.searchsorted(begins, hits, side="right"), return_index=True)[1]]
            kept.update(inside[firsts].tolist())
    places = sorted(kept)
    return steps[places], values[places]


def _extremes_by_array(
    session: Session, inside: Sequence[ColumnElement[bool]], stretch: ColumnElement[int]
) -> dict[int, float]:
    """PostgreSQL orders arrays by their first item, then by the next: the smallest [value, step] has the smallest value
    and, of equal ones, the first step; a negative step makes the largest do the same. Faster than window functions."""
    low = func.min(postgresql.array([MetricPoint.value, cast(MetricPoint.step, Double)]))
    high = func.max(postgresql.array([MetricPoint.value, cast(-MetricPoint.step, Double)]))
    pairs = session.execute(select(low, high).where(*inside).group_by(stretch)).all()
    return {int(abs(step)): value for pair in pairs for value, step in pair}


def _metric_ids(session: Session, wanted: set[str]) -> dict[str, int]:
    query = select(Metric.name, Metric.id).where(Metric.name.in_(wanted))
    ids = {row.name: row.id for row in session.execute(query)}
    if missing := sorted(wanted - ids.keys()):
        # Sorted, so that two writers of the same new names wait for each other instead of deadlocking.
        upsert(session, Metric.__table__, [{"name": name} for name in missing], ("name",))
        ids = {row.name: row.id for row in session.execute(query)}
    return ids


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
