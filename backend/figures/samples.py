"""Histograms of what a policy's completions get and how long they are, a line for each step or run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from backend import side_by_side
from backend.figures.style import COLOURS, DASHES, HOVER, HOVER_SHARE, TEMPLATE, sequential, whole_ticks
from backend.side_by_side import Column, Measure
from copg_core.wording import fixed

_TITLES: Mapping[Measure, str] = {
    "reward": "Reward (reward units)",
    "gold": "Gold reward (gold units)",
    "length": "Completion (tokens)",
}
_SEVERAL: Mapping[Measure, str] = {
    "reward": "Reward (each curve in its own units)",
    "gold": "Gold reward (each curve measured its own way)",
}
_MOST_BINS = 30


def histogram(columns: Sequence[Column], measure: Measure) -> go.Figure:
    """Share of the prompts in each bin; the bins are the same for all columns (NumPy's `auto`, at most 30).

    Where scores are not comparable with the first column's, the legend says why and the axis that it has several scales.
    Columns of one algorithm have shades by their order, columns of several algorithms those algorithms' colours.
    """
    values = [column.values(measure) for column in columns]
    edges = _edges([value for of_column in values for value in of_column], whole=measure == "length")
    apart = [None] * len(columns) if measure == "length" else side_by_side.apart(columns, measure)
    one_algorithm = len({column.run.algorithm for column in columns}) == 1 and len(columns) > 1
    traces = []
    used: dict[str, int] = {}
    for place, (column, label, mine, why) in enumerate(zip(columns, labels(columns), values, apart, strict=True)):
        counts, _ = np.histogram(mine, edges) if mine else (np.zeros(len(edges) - 1), edges)
        shares = (counts / max(1, len(mine))).tolist()
        colours = sequential(place / (len(columns) - 1)) if one_algorithm else None
        colour = colours["light"] if colours else COLOURS[column.run.algorithm]
        number = used.get(column.run.algorithm, 0)
        used[column.run.algorithm] = number + 1
        mean = f", mean {fixed(sum(mine) / len(mine), 1 if measure == 'length' else 3)}" if mine else ""
        note = f"; not comparable with the first: {why}" if why else ""
        traces.append(
            go.Scatter(
                x=edges.tolist() if mine else [], y=[*shares, shares[-1]] if mine else [], mode="lines", legendgroup=str(place),
                name=f"{label}: n = {len(mine):,}{mean}{note}", hovertemplate="%{y}",
                line={"color": colour, "width": 2, "shape": "hv", "dash": "solid" if one_algorithm else DASHES[number % len(DASHES)]},
                meta={"role": "histogram", "algorithm": column.run.algorithm, **({"colours": colours} if colours else {})},
            )
        )  # fmt: skip
    drawn = go.Figure(traces)
    ticks = whole_ticks(edges[-1] - edges[0]) if measure == "length" else {}
    drawn.update_layout(
        template=TEMPLATE, uirevision="keep", yaxis={"title": {"text": "Share of prompts"}, "tickformat": ".0%", "hoverformat": HOVER_SHARE, "rangemode": "tozero"},
        xaxis={"title": {"text": _SEVERAL[measure] if any(apart) else _TITLES[measure]}, "rangemode": "normal", "hoverformat": HOVER} | ticks,
    )  # fmt: skip
    return drawn


def labels(columns: Sequence[Column]) -> list[str]:
    """What sets each column apart: its step, its run, or both."""
    one_run = len({column.run.uid for column in columns}) == 1
    found = []
    for column in columns:
        step = "no samples yet" if column.step is None else f"step {column.step:,}"
        named = column.run.name
        if len({other.run.uid for other in columns if other.run.name == named}) > 1:
            named = f"{named} ({column.run.uid[:6]})"
        found.append(step if one_run else f"{named}, {step}")
    return found


def _edges(values: Sequence[float], *, whole: bool) -> np.ndarray:
    """Edges of the bins; of whole numbers, of a whole width each."""
    if not values:
        return np.array([0.0, 1.0])
    low, high = min(values), max(values)
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # they differ by rounding, if at all
        half = max(0.5, 1e-6 * abs(low))
        return np.array([math.floor(low), math.floor(low) + 1.0]) if whole else np.array([low - half, high + half])
    if not math.isfinite(high - low):  # further apart than numbers reach
        return np.array([low, 0.0, high])
    edges = np.histogram_bin_edges(values, "auto")
    if len(edges) - 1 > _MOST_BINS:
        edges = np.histogram_bin_edges(values, _MOST_BINS)
    if not whole:
        return edges
    low, high = math.floor(min(values)), math.ceil(max(values)) + 1
    width = max(1, math.ceil((high - low) / (len(edges) - 1)))
    return np.arange(low, high + width, width, dtype=float)
