"""What a comparison's groups took until a reward: time, and the time for which devices were held."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from backend.comparisons import NAMES, Comparison, Group, Measure, Point, why_apart
from backend.figures.compare_curves import incomparable, name_of
from backend.figures.style import COLOURS, TEMPLATE, faint
from copg_core.wording import number

ROW, BAR, LINE, AXES = (
    38,
    14,
    15,
    72,
)  # px: of a bar with its words, of the bar, of a line of text, of all around the bars
LETTERS = 48  # of a line that the narrowest page shows


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
    """A bar for each group whose mean reaches the target, as long as what was spent until then; its name and number above it, where a
    narrow page has room for them, and the figure as high as its bars need."""
    level = target if target is not None else default_target(comparison, measure)
    bars: list[_Bar] = []
    for group in comparison.groups:
        reached = next((p for p in group.points if _is_at_least(p.of(measure)[0], level)), None)
        if reached is not None:
            alone = [
                next((p for p in one.points if _is_at_least(p.of(measure)[0], level)), None) for one in group.members
            ]
            bars.append(_Bar(group, of(reached), reached, [of(p) for p in alone if p is not None]))
    missing = sum(group.has(measure) for group in comparison.groups) - len(bars)
    traces = []
    for algorithm in dict.fromkeys(bar.group.algorithm for bar in bars):
        own = [bar for bar in bars if bar.group.algorithm == algorithm]
        traces.append(
            go.Bar(
                x=[bar.seconds for bar in own], y=[bar.group.label for bar in own], orientation="h", text=[bar.told for bar in own],
                textposition="none", hovertemplate="%{text}<extra></extra>", name=NAMES.get(algorithm, algorithm),
                marker={"color": faint(COLOURS[algorithm], 0.4), "line": {"color": COLOURS[algorithm], "width": 1.5}},
                customdata=[[bar.reached.step, bar.n] for bar in own],
                meta={"role": role, "algorithm": algorithm, "columns": ["step", "n"]}, showlegend=False,
            )
        )  # fmt: skip
        dots = [(second, bar) for bar in own if len(bar.group.members) > 1 for second in bar.alone]
        if dots:
            traces.append(
                go.Scatter(
                    x=[second for second, _ in dots], y=[bar.group.label for _, bar in dots], mode="markers", name="seeds", hoverinfo="skip",
                    marker={"color": COLOURS[algorithm], "size": 7}, meta={"role": "seed", "algorithm": algorithm}, showlegend=False,
                )
            )  # fmt: skip
    drawn = go.Figure(traces)
    of_what = "<br>of one run, without its parents" if role == "cost" else ""
    of_seeds = "<br>points: each seed by itself" if any(len(bar.group.members) > 1 for bar in bars) else ""
    unreached = f"<br>{missing} did not reach it" if missing else ""
    level_text = "" if level is None else f" to {name_of(measure).lower()} {number(level, 3)}"
    why = why_apart(comparison.groups, measure)
    differ = f"<br>{incomparable(why).replace(': ', ':<br>')}" if why is not None else ""
    below = f"{title}{level_text} (seconds){of_what}{of_seeds}{unreached}{differ}"
    texts = [_words(bar) for bar in bars]
    row = ROW + LINE * max((text.count("<br>") for text in texts), default=0)
    drawn.update_layout(
        template=TEMPLATE, hovermode="closest", uirevision="keep", bargap=1 - BAR / row,
        height=round(row * max(len(bars), 2) + AXES + LINE * below.count("<br>")),
        margin={"l": 12, "r": 12, "t": 16, "b": AXES - 20 + LINE * below.count("<br>")},
        xaxis={"title": {"text": below}, "rangemode": "tozero", "hoverformat": ",.0f"},
        yaxis={"autorange": "reversed", "showticklabels": False, "ticks": "", "showgrid": False, "fixedrange": True, "title": {"text": ""}},
        annotations=[
            {"text": text, "x": 0, "xref": "paper", "xanchor": "left", "y": bar.group.label, "yanchor": "bottom", "yshift": BAR / 2,
             "showarrow": False, "align": "left", "font": {"size": 12}}
            for bar, text in zip(bars, texts, strict=True)
        ],
    )  # fmt: skip
    return drawn


class _Bar(NamedTuple):
    group: Group
    seconds: float
    reached: Point
    alone: Sequence[float]
    """What each seed spent until it reached the target by itself, whatever its group did."""

    @property
    def n(self) -> str:
        return "1 seed" if self.reached.seeds == 1 else f"{self.reached.seeds} seeds"

    @property
    def told(self) -> str:
        few = f", {len(self.alone)} reach it" if len(self.alone) < len(self.group.members) else ""
        return f"{_seconds(self.seconds)}, step {self.reached.step:,}, n = {self.n}{few}"


def _words(bar: _Bar) -> str:
    """What stands above a bar: on one line where it fits, else the number on a line of its own."""
    whole = f"{bar.group.label}: {bar.told}"
    return whole if len(whole) <= LETTERS else "<br>".join([*textwrap.wrap(bar.group.label, LETTERS), bar.told])


def _is_at_least(value: float | None, level: float | None) -> bool:
    return value is not None and level is not None and value >= level


def _seconds(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:,.0f} s"


def default_target(comparison: Comparison, measure: Measure) -> float | None:
    """Half of the way from the lowest first to the highest mean: most runs reach it, and not at once. None where no mean rose."""
    values = [v for group in comparison.groups for point in group.points if (v := point.of(measure)[0]) is not None]
    starts = [v for group in comparison.groups if group.points and (v := group.points[0].of(measure)[0]) is not None]
    return (min(starts) + max(values)) / 2 if starts and values and max(values) > min(starts) else None
