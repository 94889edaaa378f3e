"""What a comparison's groups took until a reward: time, and the time for which devices were held."""

from __future__ import annotations

from collections.abc import Callable

import plotly.graph_objects as go

from backend.comparisons import NAMES, Comparison, Measure, Point
from backend.figures.compare_curves import name_of
from backend.figures.style import COLOURS, TEMPLATE


def time_to(comparison: Comparison, measure: Measure, target: float | None = None) -> go.Figure:
    """Seconds from the first evaluation to the first one at which the mean is at least the target. Waiting counts too."""
    return _until(comparison, measure, target, "time", "Time", lambda point: point.seconds)


def cost_of(comparison: Comparison, measure: Measure, target: float | None = None) -> go.Figure:
    """Device time until the first evaluation at which the mean is at least the target, of one run (the mean over seeds): the seconds
    for which it was held by workers in all attempts, loading, scoring and lost work among them, waiting not, times the GPUs of each
    attempt. A run of one CPU slot holds one device. Parents are not counted."""
    return _until(comparison, measure, target, "cost", "Device time", lambda point: point.device_seconds)


def _until(
    comparison: Comparison, measure: Measure, target: float | None, role: str, title: str, of: Callable[[Point], float]
) -> go.Figure:  # fmt: skip
    """A bar for each group whose mean reaches the target, as long as what was spent until then."""
    level = target if target is not None else default_target(comparison, measure)
    names, seconds, told, colours = [], [], [], []
    for group in comparison.groups:
        reached = next((p for p in group.points if level is not None and _is_at_least(p.of(measure)[0], level)), None)
        if reached is not None:
            names.append(group.label)
            seconds.append(of(reached))
            told.append(f"{_seconds(of(reached))}, step {reached.step:,}")
            colours.append(COLOURS[group.algorithm])
    missing = sum(1 for group in comparison.groups if group.points) - len(names)
    traces = []
    for algorithm in dict.fromkeys(group.algorithm for group in comparison.groups):
        rows = [place for place, colour in enumerate(colours) if colour == COLOURS[algorithm]]
        if rows:
            traces.append(
                go.Bar(
                    x=[seconds[row] for row in rows], y=[names[row] for row in rows], orientation="h", text=[told[row] for row in rows],
                    textposition="auto", hovertemplate="%{text}<extra></extra>", name=NAMES.get(algorithm, algorithm),
                    marker={"color": COLOURS[algorithm]}, meta={"role": role, "algorithm": algorithm}, showlegend=False,
                )
            )  # fmt: skip
    drawn = go.Figure(traces)
    of_what = "<br>of one run, without its parents" if role == "cost" else ""
    unreached = f"<br>{missing} did not reach it" if missing else ""
    level_text = "" if level is None else f" to {name_of(measure).lower()} {level:.3g}"
    drawn.update_layout(
        template=TEMPLATE, hovermode="closest", uirevision="keep", bargap=0.35,
        xaxis={"title": {"text": f"{title}{level_text} (seconds){of_what}{unreached}"}, "rangemode": "tozero", "hoverformat": ",.0f"},
        yaxis={"autorange": "reversed", "automargin": True, "title": {"text": ""}},
    )  # fmt: skip
    return drawn


def _is_at_least(value: float | None, level: float) -> bool:
    return value is not None and value >= level


def _seconds(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:,.0f} s"


def default_target(comparison: Comparison, measure: Measure) -> float | None:
    """Half of the way from the lowest first to the highest mean: most runs reach it, and not at once."""
    values = [v for group in comparison.groups for point in group.points if (v := point.of(measure)[0]) is not None]
    starts = [v for group in comparison.groups if group.points and (v := group.points[0].of(measure)[0]) is not None]
    return (min(starts) + max(values)) / 2 if starts and values else None
