"""Figures of what GPUs did over the last hours: how busy they were, and how much of their memory was taken."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import plotly.graph_objects as go

from backend.figures.style import COLOURS, DASHES, HOVER, NEUTRAL, TEMPLATE
from backend.gpu_history import History, Line, Point
from copg_core.wording import number

GpuFigureName = Literal["gpu_use", "gpu_memory"]
GB = 10**9
AWAY = 4  # periods of its heartbeat after which a worker is not alive any more: a lease
_HUES = ("copg", "dpo", "ipo", "policy_gradient", "reward_model", "sft")  # of algorithms, because they stay apart
_MOST_HOVERED = 10  # lines in one box beside the pointer


@dataclass(frozen=True)
class GpuFigure:
    """A figure's title and unit, what it draws of a point, and what a point stands for where it is made of several samples."""

    title: str
    axis: str
    value: Callable[[Point], float | None]
    thinned: str
    hover: str


FIGURES: Mapping[GpuFigureName, GpuFigure] = {
    "gpu_use": GpuFigure("Use of GPUs", "Use (%)", lambda point: _rounded(point.use, 1), "means over", "%{y} %"),
    "gpu_memory": GpuFigure(
        "Memory of GPUs",
        "Memory (GB)",
        lambda point: None if point.memory is None else round(point.memory / GB, 3),
        "highest in",
        "%{y} GB",
    ),
}


def gpu_use(history: History, minutes_east: int = 0) -> go.Figure:
    """Share of the time in which a GPU computed something, against the time."""
    drawn = _over_time("gpu_use", history, minutes_east)
    return drawn.update_yaxes(range=[0, 100])


def gpu_memory(history: History, minutes_east: int = 0) -> go.Figure:
    """Memory that is taken, by whomever, against the time, and how much there is."""
    drawn = _over_time("gpu_memory", history, minutes_east)
    ends = _ticks([history.since, history.until], minutes_east)
    for total in sorted({line.memory_total for line in history.lines if line.memory_total}):
        drawn.add_trace(go.Scatter(
            x=ends, y=[round(total / GB, 3)] * 2, name=f"{number(total / GB, 3)} GB in all", mode="lines", hoverinfo="skip",
            line={"color": NEUTRAL, "width": 1.5, "dash": "dash"}, meta={"role": "memory_total", "algorithm": ""}, uid=f"limit-{total}",
        ))  # fmt: skip
    return drawn.update_yaxes(rangemode="tozero")


DRAW: Mapping[GpuFigureName, Callable[[History, int], go.Figure]] = {"gpu_use": gpu_use, "gpu_memory": gpu_memory}


def nothing(name: GpuFigureName, history: History, hours: int) -> str:
    """Why there is nothing to draw; empty where there is something."""
    value = FIGURES[name].value
    if any(value(point) is not None for line in history.lines for point in line.points):
        return ""
    if history.lines:
        what = "how busy these GPUs are" if name == "gpu_use" else "how much memory of these GPUs is taken"
        return f"The driver does not tell {what}: of a slice (MIG), for one, it tells the memory alone."
    if history.newest is None:
        return "No worker has reported a GPU: one on a machine with NVIDIA's driver does so with every heartbeat."
    return f"No worker has reported {'such a GPU' if history.hosts else 'a GPU'} in the last {hours} h."


def labels(lines: Sequence[Line]) -> list[str]:
    """What sets each GPU apart: its number, its machine where there are several, and the end of its UUID if need be."""
    one_host = len({line.host for line in lines}) == 1
    short = [f"GPU {line.index}" if one_host else f"{line.host}, GPU {line.index}" for line in lines]
    often = Counter(short)
    return [f"{name} ({line.uuid[-6:]})" if often[name] > 1 else name for name, line in zip(short, lines, strict=True)]


def with_gaps(line: Line, value: Callable[[Point], float | None]) -> tuple[list[float], list[float | None]]:
    """Moments and values; where the worker was away, a moment without one, at which a curve is interrupted."""
    moments: list[float] = []
    values: list[float | None] = []
    before: Point | None = None
    for point in line.points:
        if before is not None and point.first - before.last > AWAY * before.period:
            moments.append((before.last + point.first) / 2)
            values.append(None)
        moments.append((point.first + point.last) / 2)
        values.append(value(point))
        before = point
    return moments, values


def as_csv(name: GpuFigureName, history: History) -> str:
    """Every number drawn, one a line: `host,gpu,uuid,name,time,use_percent` or `…,memory_gb,total_gb`."""
    out = io.StringIO()
    writer = csv.writer(out)
    memory = name == "gpu_memory"
    writer.writerow(
        ["host", "gpu", "uuid", "name", "time", *(["memory_gb", "total_gb"] if memory else ["use_percent"])]
    )
    for line in history.lines:
        total = [_rounded(line.memory_total and line.memory_total / GB, 3)] if memory else []
        for moment, value in zip(*with_gaps(line, FIGURES[name].value), strict=True):
            if value is not None:
                time = datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
                writer.writerow([line.host, line.index, line.uuid, line.name, time, value, *total])
    return out.getvalue()


def _over_time(name: GpuFigureName, history: History, minutes_east: int) -> go.Figure:
    figure = FIGURES[name]
    drawn = go.Figure()
    for place, (line, label) in enumerate(zip(history.lines, labels(history.lines), strict=True)):
        moments, values = with_gaps(line, figure.value)
        hue, dash = _HUES[place % len(_HUES)], DASHES[place // len(_HUES) % len(DASHES)]
        around = [None, *values, None]
        dots = any(around[at : at + 3] == [None, value, None] for at, value in enumerate(values) if value is not None)
        drawn.add_trace(go.Scatter(
            x=_ticks(moments, minutes_east), y=values, name=label, mode="lines+markers" if dots else "lines",
            line={"color": COLOURS[hue], "width": 1.75, "dash": dash}, marker={"size": 3, "color": COLOURS[hue]},
            hovertemplate=figure.hover, meta={"role": name, "algorithm": hue}, uid=line.uuid, legendgroup=line.uuid,
        ))  # fmt: skip
    thinned = any(point.period < history.width for line in history.lines for point in line.points)
    drawn.update_layout(
        template=TEMPLATE,
        uirevision=f"{history.until - history.since:.0f}",  # zoom survives until another span is chosen
        showlegend=True,
        hovermode="x unified" if len(history.lines) <= _MOST_HOVERED else "closest",
        xaxis={
            "title": {"text": f"Time ({zone(minutes_east)}){f'; {figure.thinned} {_span(history.width)}' if thinned else ''}"},
            "type": "date", "range": _ticks([history.since, history.until], minutes_east), "rangemode": "normal",
            "tickformat": "%H:%M", "hoverformat": "%-d %b, %H:%M:%S",
        },
        yaxis={"title": {"text": figure.axis}, "hoverformat": HOVER},
    )  # fmt: skip
    return drawn


def zone(minutes_east: int) -> str:
    """`UTC`, or `UTC+05:30`."""
    sign, (hours, minutes) = "−" if minutes_east < 0 else "+", divmod(abs(minutes_east), 60)
    return f"UTC{sign}{hours:02d}:{minutes:02d}" if minutes_east else "UTC"


def _ticks(moments: Sequence[float], minutes_east: int) -> list[int]:
    """Milliseconds since 1970 on the clocks there: plotly.js knows no time zones, and writes what it is given as UTC."""
    return [round(1000 * (moment + 60 * minutes_east)) for moment in moments]


def _span(seconds: float) -> str:
    return f"{seconds:g} s" if seconds < 120 else f"{seconds / 60:g} min"


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
