"""Curves of a comparison against the step: every group (Figs. 2 to 4), the best of each algorithm (Fig. 6).

Groups of one algorithm are told apart by beta on a sequential scale, algorithms by their fixed colours. Bands are one standard
error or the 95 % interval; the legend says which, over what, and how many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import plotly.graph_objects as go

from backend.comparisons import Comparison, Group, Measure, best, by_algorithm
from backend.figures.style import BANDS, COLOURS, DASHES, HOVER, NEUTRAL, TEMPLATE, faint, sequential
from backend.statistics import Band, as_values, band, half_width
from copg_core.wording import number, with_error

MOST_MARKS = 100
UNITS = {"reward": "reward units", "gold": "gold units"}


def reward(comparison: Comparison, measure: Measure) -> go.Figure:
    """Mean reward against step for every group (Figs. 2 to 4); single seeds stand behind their mean as they were measured."""
    traces: list[go.Scatter] = []
    drawn_by = strokes(comparison)
    for group in comparison.groups:
        traces += _curve(comparison, group, measure, drawn_by[group.id])
    return _over_steps(comparison, traces, measure)


def best_of_each(comparison: Comparison, measure: Measure) -> go.Figure:
    """For each algorithm the group with the largest last mean (Fig. 6). It is chosen on the prompts that are shown."""
    traces: list[go.Scatter] = []
    for group in winners(comparison, measure).groups:
        traces += _curve(comparison, group, measure, Stroke(COLOURS[group.algorithm], "solid"))
    return _over_steps(comparison, traces, measure)


def winners(comparison: Comparison, measure: Measure) -> Comparison:
    """The best group of each algorithm alone, named by how many it was chosen from. Of winners it changes nothing."""
    kept = []
    for _, groups in by_algorithm(comparison):
        if (winner := best(groups, measure)) is not None:
            among = sum(group.finished for group in groups)
            chosen = f", best of {among}" if among > 1 else ""
            kept.append(replace(winner, label=f"{winner.label}{chosen}"))
    return replace(comparison, groups=kept)


def warned(drawn: go.Figure, why: str | None) -> go.Figure:
    """With a line in the legend where values on one axis cannot be compared; the table refuses to test them."""
    if why is not None:
        drawn.add_trace(
            go.Scatter(
                x=[None], y=[None], mode="markers", name=incomparable(why), marker={"symbol": "diamond-open", "size": 9, "color": NEUTRAL},
                meta={"role": "reference", "algorithm": ""},
            )
        )  # fmt: skip
    return drawn


def incomparable(why: str) -> str:
    """
    >>> incomparable("the groups have different rewards")
    'the groups have different rewards: their values cannot be compared'
    """
    return f"{why}: their values cannot be compared"


def name_of(measure: Measure) -> str:
    return "Reward" if measure == "reward" else "Gold reward"


class Stroke(NamedTuple):
    """How a group's curve is drawn; `shades` are its colours for both grounds where beta decides them."""

    colour: str
    dash: str
    shades: Mapping[str, str] | None = None

    def meta(self, algorithm: str) -> dict[str, Any]:
        return {"algorithm": algorithm, **({"colours": dict(self.shades)} if self.shades else {})}


def strokes(comparison: Comparison) -> dict[str, Stroke]:
    """A stroke for each group: of one algorithm the colour of its beta, darkest for the smallest, else that of the algorithm; and within a
    colour the next dash, so that no two curves look the same while there are dashes."""
    one = len({group.algorithm for group in comparison.groups}) == 1
    betas = sorted({group.beta for group in comparison.groups if group.beta is not None}) if one else []
    used: Counter[str] = Counter()
    found = {}
    for group in comparison.groups:
        shades = None
        if len(betas) > 1 and group.beta is not None:
            shades = sequential(betas.index(group.beta) / (len(betas) - 1))
        colour = shades["light"] if shades else COLOURS[group.algorithm]
        found[group.id] = Stroke(colour, DASHES[used[colour] % len(DASHES)], shades)
        used[colour] += 1
    return found


def _curve(
    comparison: Comparison, group: Group, measure: Measure, stroke: Stroke
) -> list[go.Scatter]:  # fmt: skip
    colour, dash, _ = stroke
    points = [point for point in group.points if point.of(measure)[0] is not None]
    meta = stroke.meta(group.algorithm)
    common: dict[str, Any] = {"legendgroup": group.id, "mode": "lines"}
    traces = []
    if len(group.members) > 1:
        for member in group.members:
            own = [point for point in member.points if point.of(measure)[0] is not None]
            traces.append(
                go.Scatter(
                    x=[point.step for point in own], y=[point.of(measure)[0] for point in own], name=member.name, opacity=0.35,
                    line={"color": colour, "width": 1, "dash": dash}, showlegend=False, hoverinfo="skip",
                    meta={**meta, "role": "seed"}, **common,
                )
            )  # fmt: skip
    steps = [point.step for point in points]
    means, words = [point.of(measure)[0] for point in points], BANDS[comparison.band]
    errors = as_values(half_width([p.of(measure)[1] for p in points], [p.independent for p in points], comparison.band))
    edges = zip(band(means, errors), (words.below, words.above), (None, "tonexty"), strict=True)
    for edge, side, fill in edges if comparison.bands else ():
        traces.append(
            go.Scatter(
                x=steps, y=as_values(edge), name=f"{group.label} {side}", line={"width": 0, "color": colour}, fill=fill,
                fillcolor=faint(colour), showlegend=False, hoverinfo="skip", meta={**meta, "role": "band"}, **common,
            )
        )  # fmt: skip
    if comparison.smoothing:
        traces.append(
            go.Scatter(
                x=steps, y=means, name=f"{group.label}, as measured", opacity=0.45, line={"color": colour, "width": 1, "dash": dash},
                showlegend=False, hoverinfo="skip", meta={**meta, "role": "measured"}, **common,
            )
        )  # fmt: skip
    over = f"{words.both if comparison.bands else ''}, n = {points[-1].over}" if points else ""
    told = None
    if comparison.smoothing:
        told = [
            "" if mean is None else f" (measured {with_error(mean, width)}{_kind(width, comparison.band)})"
            for mean, width in zip(means, errors, strict=True)
        ]
    elif not comparison.bands:
        told = [error(width, comparison.band) for width in errors]
    traces.append(
        go.Scatter(
            x=steps, y=[point.smooth for point in points] if comparison.smoothing else means, name=f"{group.label}{over}",
            line={"color": colour, "width": 2, "dash": dash}, customdata=told,
            hovertemplate=f"{'' if comparison.bands else 'step %{x:,d}: '}%{{y}}{'%{customdata}' if told is not None else ''}",
            meta={**meta, "role": "mean", **_open(comparison)}, legendgroup=group.id, mode="lines" if comparison.smoothing else mode(points),
            marker={"size": 4, "color": colour},
        )
    )  # fmt: skip
    return traces


def _open(comparison: Comparison) -> dict[str, int]:
    """How many points at the end of a smoothed curve later evaluations may move (figures/tails.py)."""
    return {"open": comparison.smoothing // comparison.every + 2} if comparison.smoothing else {}


def error(width: float | None, kind: Band) -> str:
    """What hovering adds to a mean."""
    return "" if width is None else f" ± {number(width, 2)}{_kind(width, kind)}"


def _kind(width: float | None, kind: Band) -> str:
    return "" if width is None else f" ({BANDS[kind].short})"


def mode(points: Sequence[object]) -> str:
    """Marks show where a curve was measured while they can be told apart."""
    return "lines+markers" if len(points) <= MOST_MARKS else "lines"


def every(comparison: Comparison) -> str:
    return "" if comparison.every == 1 else f" (1 evaluation of {comparison.every} is drawn)"


def _over_steps(comparison: Comparison, traces: Sequence[go.Scatter], measure: Measure) -> go.Figure:
    drawn = go.Figure(list(traces))
    if comparison.smoothing:
        drawn.add_trace(
            go.Scatter(
                x=[None], y=[None], mode="lines", line={"color": NEUTRAL, "width": 2}, meta={"role": "reference", "algorithm": ""},
                name=f"thick: smoothed (± {comparison.smoothing}), thin: measured",
            )
        )  # fmt: skip
    # A label with a line for each of many groups would cover the figure, and takes as long as drawing it.
    alone = {} if comparison.bands else {"hovermode": "closest", "hoverlabel": {"namelength": -1}}
    drawn.update_layout(
        template=TEMPLATE, uirevision="keep",
        xaxis={"title": {"text": f"Optimizer step{every(comparison)}"}, "hoverformat": ",d"},
        yaxis={"title": {"text": f"{name_of(measure)} ({UNITS[measure]})"}, "hoverformat": HOVER}, **alone,
    )  # fmt: skip
    return drawn
