"""Ways of a comparison over its steps: reward against KL, gold against learned reward."""

from __future__ import annotations

from collections.abc import Callable

import plotly.graph_objects as go

from backend.comparisons import Comparison, Measure, Point
from backend.figures.compare_curves import UNITS, every, mode, name_of, strokes
from backend.figures.style import NEUTRAL, TEMPLATE


def frontier(comparison: Comparison, measure: Measure) -> go.Figure:
    """Reward against KL to the reference: each group's way over its steps, its last evaluation a large point."""
    title = f"{name_of(measure)} ({UNITS[measure]})"
    return _ways(comparison, lambda one: (one.kl, one.of(measure)[0]), "KL to the reference (nats)", title)


def gold(comparison: Comparison, measure: Measure) -> go.Figure:
    """Gold against learned reward over the steps: a way that turns down optimises what the reward model gets wrong."""
    return _ways(
        comparison, lambda one: (one.reward, one.gold), "Learned reward (reward units)", "Gold reward (gold units)"
    )


def _ways(
    comparison: Comparison, place: Callable[[Point], tuple[float | None, float | None]], x_title: str, y_title: str
) -> go.Figure:
    traces = []
    drawn_by = strokes(comparison)
    for group in comparison.groups:
        points = [(point.step, *place(point)) for point in group.points]
        known = [(step, x, y) for step, x, y in points if x is not None and y is not None]
        stroke = drawn_by[group.id]
        for role, some in (("way", known), ("way_end", known[-1:])):
            end = role == "way_end"
            traces.append(
                go.Scatter(
                    x=[x for _, x, _ in some], y=[y for _, _, y in some], mode="markers" if end else mode(known), name=group.label,
                    line={"color": stroke.colour, "width": 1.5, "dash": stroke.dash},
                    marker={"size": 11 if end else 4, "color": stroke.colour}, customdata=[[step] for step, _, _ in some],
                    hovertemplate="step %{customdata[0]:,}: %{x:.3f}, %{y:.3f}", legendgroup=group.id, showlegend=not end,
                    meta={"role": role, "columns": ["step"], **stroke.meta(group.algorithm)},
                )
            )  # fmt: skip
    drawn = go.Figure(traces)
    drawn.add_trace(go.Scatter(x=[None], y=[None], mode="markers", name="large: the last evaluation", meta={"role": "reference", "algorithm": ""},
                               marker={"size": 11, "color": NEUTRAL}))  # fmt: skip
    drawn.update_layout(
        template=TEMPLATE, hovermode="closest", uirevision="keep", yaxis={"title": {"text": y_title}},
        xaxis={"title": {"text": f"{x_title}{every(comparison)}"}, "rangemode": "normal", "hoverformat": ".3f", "exponentformat": "power"},
    )  # fmt: skip
    return drawn
