"""Metric points of runs: an idempotent append, and curves read after a cursor, thinned without losing their spikes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from backend.models import Metric, MetricPoint

Curve = tuple[list[int], list[float | None]]


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
        {"run_id": run_id, "metric_id": ids[name], "step": step, "value": _finite(value)}
        for step, values in points.items()
        for name, value in values.items()
    ]
    upsert(session, MetricPoint.__table__, rows, ("run_id", "metric_id", "step"))


def names(session: Session, run_id: int) -> list[str]:
    """Every metric that the run has, in alphabetical order."""
    has_points = select(MetricPoint.step).where(MetricPoint.run_id == run_id, MetricPoint.metric_id == Metric.id)
    return list(session.scalars(select(Metric.name).where(has_points.exists()).order_by(Metric.name)))


def curve(
    session: Session, run_id: int, names: Iterable[str], after: int | None = None, max_points: int = 1000
) -> dict[str, Curve]:
    """The points of each name with step > `after` (all where it is None), at most `max_points` (>= 2) for each name.

    A name that the run does not have gives an empty curve.
    """
    result: dict[str, Curve] = {}
    for name in names:
        query = (
            select(MetricPoint.step, MetricPoint.value)
            .join(Metric, Metric.id == MetricPoint.metric_id)
            .where(MetricPoint.run_id == run_id, Metric.name == name)
            .order_by(MetricPoint.step)
        )
        rows = session.execute(query if after is None else query.where(MetricPoint.step > after)).all()
        kept = thin([row.value for row in rows], max_points)
        result[name] = [rows[i].step for i in kept], [rows[i].value for i in kept]
    return result


def thin(values: Sequence[float | None], max_points: int) -> list[int]:
    """Indices of at most `max_points` values that keep the shape: first, last, and the extremes of equal stretches.

    Every point that is kept is a point that was measured; a mean would hide the very spike that one looks for.
    """
    count = len(values)
    if count <= max_points:
        return list(range(count))
    numbers = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    edges = np.linspace(1, count - 1, max(1, (max_points - 2) // 2) + 1, dtype=np.int64)
    kept = {0, count - 1}
    if max_points >= 4:
        for begin, end in itertools.pairwise(edges.tolist()):
            kept.update(begin + offset for offset in _extremes(numbers[begin:end]))
    return sorted(int(index) for index in kept)


def _extremes(stretch: npt.NDArray[np.float64]) -> tuple[int, int] | tuple[()]:
    if stretch.size == 0 or np.isnan(stretch).all():
        return ()
    return int(np.nanargmin(stretch)), int(np.nanargmax(stretch))


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
