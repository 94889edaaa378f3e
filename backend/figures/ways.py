"""Ways of a comparison over its steps: reward against KL, gold against learned reward."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import plotly.graph_objects as go

from backend.comparisons import Comparison, Group, Measure, Point, Sampling, why_apart
from backend.figures.compare_curves import UNITS, error, every, mode, name_of, strokes
from backend.figures.style import BANDS, HOVER, NEUTRAL, TEMPLATE
from backend.statistics import Band, as_values, half_width

Place = Callable[[Point], tuple[float | None, float | None]]
Placed = tuple[Point, float, float]
AXES: Mapping[Sampling, str] = {
    "sampled": "KL to the reference (nats)",
    "greedy": "Greedy log-ratio, no KL estimate (nats)",
    "mixed": "KL, or log-ratio where sampling was greedy (nats)",
}
OTHER_STARTS = "to different references: the runs start from different policies"
FRONT: Mapping[Sampling, str] = {
    "sampled": "ringed: no other end has as much reward at as little KL",
    "greedy": "ringed: no other end has as much reward at as small a log-ratio",
    "mixed": "",  # no front
}


def frontier(comparison: Comparison, measure: Measure) -> go.Figure:
    """Reward against KL to the reference: each group's way over its steps, its last evaluation a large point, and a thin line through the
    ends that no other beats, with at least as much reward at no more KL."""
    title = f"{name_of(measure)} ({UNITS[measure]})"
    place: Place = lambda one: (one.kl, one.of(measure)[0])  # noqa: E731
    x_title = AXES[comparison.sampling]
    drawn_groups = [group for group in comparison.groups if _known(group, place)]
    one_start = len({member.start for group in drawn_groups for member in group.measured}) <= 1
    if not one_start:
        x_title += f"<br>{OTHER_STARTS}"
    drawn = _ways(comparison, place, lambda one: (one.kl_stderr, one.of(measure)[1]), x_title, title)
    if not one_start or why_apart(drawn_groups, measure) is not None:
        return drawn
    ends = [known[-1] for group in comparison.groups if (known := _known(group, place))]
    if len(ends) > 1:
        front = undominated([(x, y) for _, x, y in ends])
        drawn.add_trace(
            go.Scatter(
                x=[x for x, _ in front], y=[y for _, y in front], mode="lines+markers", line={"color": NEUTRAL, "width": 1}, hoverinfo="skip",
                name=FRONT[comparison.sampling], meta={"role": "reference_front", "algorithm": "", "open": len(ends)},
                marker={"symbol": "circle-open", "size": 17, "color": NEUTRAL},
            )
        )  # fmt: skip
    return drawn


def undominated(ends: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (KL, reward) that no other one matches in both and beats in one, by rising KL.

    >>> undominated([(2.0, 1.5), (1.0, 1.0), (3.0, 1.2), (1.0, 0.5)])
    [(1.0, 1.0), (2.0, 1.5)]
    """
    found: list[tuple[float, float]] = []
    for kl, reward in sorted(set(ends), key=lambda end: (end[0], -end[1])):
        if not found or reward > found[-1][1]:
            found.append((kl, reward))
    return found


def gold(comparison: Comparison, measure: Measure) -> go.Figure:
    """Gold against learned reward over the steps: a way that turns down optimises what the reward model gets wrong."""
    titles = "Learned reward (reward units)", "Gold reward (gold units)"
    return _ways(
        replace(comparison, groups=proxied(comparison)),
        lambda one: (one.reward, one.gold),
        lambda one: (one.stderr, one.gold_stderr),
        *titles,
    )


def proxied(comparison: Comparison) -> list[Group]:
    """The groups that maximise something else than the gold reward and have both: where gold is maximised there is nothing to compare."""
    return [
        group
        for group in comparison.groups
        if (group.yardstick.get("reward") or {}).get("kind") != "gold"
        and any(point.reward is not None and point.gold is not None for point in group.points)
    ]


def _ways(comparison: Comparison, place: Place, errors: Place, x_title: str, y_title: str) -> go.Figure:
    """`place` and `errors`: x and y of an evaluation, and the standard errors of both. Bars stand at the last evaluation alone."""
    traces = []
    drawn_by = strokes(comparison)
    for group in comparison.groups:
        known = _known(group, place)
        over = f", n = {known[-1][0].over}" if known else ""
        stroke = drawn_by[group.id]
        told = _told(known, errors, comparison.band)
        for role, some in (("way", known), ("way_end", known[-1:])):
            end = role == "way_end"
            traces.append(
                go.Scatter(
                    x=[x for _, x, _ in some], y=[y for _, _, y in some], mode="markers" if end else mode(known), name=f"{group.label}{over}",
                    line={"color": stroke.colour, "width": 1.5, "dash": stroke.dash},
                    marker={"size": 11 if end else 4, "color": stroke.colour}, customdata=[[point.step, *words] for (point, _, _), words in zip(some, told[-len(some) :], strict=True)],
                    hovertemplate="step %{customdata[0]:,}: %{x}%{customdata[1]}, %{y}%{customdata[2]}", legendgroup=group.id, showlegend=not end,
                    meta={"role": role, "columns": ["step", "x ±", "y ±"], **stroke.meta(group.algorithm)},
                )
            )  # fmt: skip
        for x, y in _bars(known[-1], errors, comparison.band) if known else ():
            traces.append(
                go.Scatter(
                    x=x, y=y, mode="lines", name=f"{group.label}, the last evaluation{BANDS[comparison.band].both}", showlegend=False, hoverinfo="skip",
                    line={"color": stroke.colour, "width": 1.5}, legendgroup=group.id, meta={"role": "error", "open": 2, **stroke.meta(group.algorithm)},
                )
            )  # fmt: skip
    drawn = go.Figure(traces)
    drawn.add_trace(go.Scatter(x=[None], y=[None], mode="markers", name=f"large: the last evaluation{BANDS[comparison.band].both}", meta={"role": "reference", "algorithm": ""},
                               marker={"size": 11, "color": NEUTRAL}))  # fmt: skip
    drawn.update_layout(
        template=TEMPLATE, hovermode="closest", uirevision="keep", yaxis={"title": {"text": y_title}, "hoverformat": HOVER},
        xaxis={"title": {"text": f"{x_title}{every(comparison)}"}, "rangemode": "normal", "hoverformat": HOVER, "exponentformat": "power"},
    )  # fmt: skip
    return drawn


def _known(group: Group, place: Place) -> list[Placed]:
    return [(point, x, y) for point in group.points for x, y in [place(point)] if x is not None and y is not None]


def _told(known: Sequence[Placed], errors: Place, kind: Band) -> list[list[str]]:
    """What hovering adds to x and to y of each point."""
    over = [point.independent for point, _, _ in known]
    both = [as_values(half_width([errors(point)[axis] for point, _, _ in known], over, kind)) for axis in (0, 1)]
    return [[error(x, kind), error(y, kind)] for x, y in zip(*both, strict=True)]


def _bars(last: Placed, errors: Place, kind: Band) -> list[tuple[list[float], list[float]]]:
    """The ends of the bars of one point, across and upright; curves of their own, which can be appended to as others are. Of an unknown error
    none is drawn."""
    point, x, y = last
    across, up = (float(half_width([error], [point.independent], kind)[0]) for error in errors(point))
    found = [([x - across, x + across], [y, y]), ([x, x], [y - up, y + up])]
    return [one for one, width in zip(found, (across, up), strict=True) if math.isfinite(width)]
