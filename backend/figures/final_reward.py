"""Final reward against beta, or whatever a sweep varies: one line for each algorithm, with standard errors."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from backend.comparisons import NAMES, apart_by_number
from backend.figures.style import BANDS, COLOURS, DASHES, HOVER, NEUTRAL, TEMPLATE
from backend.statistics import Band, half_width, mean_and_stderr
from copg_core.wording import number, with_error

BETA, FACTOR = "Beta", 5
ROOM = 0.14  # of the axis, between two named ticks
_X = "%{x:.6~g}"  # with a format of its own: otherwise hovering takes a tick's text, and not every tick has one


@dataclass(frozen=True)
class Result:
    """The last evaluation of one run. `series` holds what sets it apart besides x and seed."""

    name: str
    algorithm: str
    variant: str | None
    series: str
    x: float
    reward: float
    stderr: float | None
    n: int
    finished: bool
    step: int
    line: str = ""
    """Equal for runs that one line goes through: `series` is words, which are cut and may be alike."""


@dataclass(frozen=True)
class Mean:
    """What a line goes through: one run with its error over prompts, or several seeds with the error over them."""

    x: float
    reward: float
    stderr: float | None
    seeds: int
    n: int
    step: int | None

    @property
    def error_over(self) -> str:
        return f"{self.seeds} seeds" if self.seeds > 1 else f"{self.n:,} prompts"

    def half_width(self, band: Band) -> float | None:
        """Of its bar; None where no error is known."""
        width = float(half_width([self.stderr], [self.seeds if self.seeds > 1 else self.n], band)[0])
        return None if math.isnan(width) else width


def final_reward(
    results: Sequence[Result], x_title: str, before: float | None, band: Band = "stderr"
) -> go.Figure:  # fmt: skip
    """Mean reward of the last evaluation. Bars: one standard error or the 95 % interval, over seeds where there are several, else over
    prompts.

    Runs that have not succeeded are open circles at their last evaluation and belong to no mean. `before` is the reward
    at step 0, where all runs agree on it.
    """
    traces: list[go.Scatter] = []
    lines = _lines(results)
    dashes: dict[str, int] = defaultdict(int)
    words = [
        " ".join(filter(None, (NAMES.get(algorithm, algorithm), f"({variant})" if variant else "", own[0].series)))
        for (algorithm, variant, _), own in lines.items()
    ]
    for ((algorithm, variant, line), own), label in zip(lines.items(), apart_by_number(words), strict=True):
        points = means(own)
        dash = DASHES[dashes[algorithm] % len(DASHES)]
        dashes[algorithm] += 1
        group = f"{algorithm} {variant} {line}"
        common: dict[str, Any] = {
            "legendgroup": group,
            "meta": {**_meta("final", algorithm), "columns": ["", "step", "error", "n"]},
        }
        if points:
            traces.append(
                go.Scatter(
                    x=[point.x for point in points], y=[point.reward for point in points], mode="lines+markers",
                    name=f"{label}{BANDS[band].both}, n = {_n(points)}", line={"color": COLOURS[algorithm], "width": 2, "dash": dash},
                    marker={"size": 8, "color": COLOURS[algorithm]},
                    error_y={"type": "data", "array": [point.half_width(band) or 0.0 for point in points], "thickness": 1.5, "width": 4},
                    customdata=[
                        [f"{_told(point.reward, point.half_width(band), band)} over {point.error_over}", point.step, point.half_width(band),
                         point.error_over]
                        for point in points
                    ],
                    hovertemplate=f"<b>{label}</b><br>{x_title} {_X}: %{{customdata[0]}}<extra></extra>", **common,
                )
            )  # fmt: skip
        single = [one for one in own if one.finished] if any(point.seeds > 1 for point in points) else []
        for chosen, symbol, opacity in (
            (single, "circle", 0.45),
            ([one for one in own if not one.finished], "circle-open", 0.9),
        ):
            if chosen:
                traces.append(_dots(chosen, symbol, opacity, common))
    xs = [one.x for one in results]
    if before is not None and xs:
        traces.append(
            go.Scatter(
                x=[min(xs), max(xs)], y=[before, before], mode="lines", name="Before training (step 0)",
                line={"color": NEUTRAL, "width": 1, "dash": "dot"}, hoverinfo="skip", meta=_meta("reference", ""),
            )
        )  # fmt: skip
    drawn = go.Figure(traces)
    drawn.update_layout(
        template=TEMPLATE, xaxis=_x_axis(xs, x_title), yaxis={"title": {"text": "Reward at the end (reward units)"}},
        hovermode="closest", uirevision="keep",
    )  # fmt: skip
    return drawn


def _x_axis(xs: Sequence[float], title: str) -> dict[str, Any]:
    """Beta always has a logarithmic axis, another setting where it spans more than a factor of five; ticks at the values themselves, each
    named where the one before it leaves room."""
    axis: dict[str, Any] = {"title": {"text": title}, "hoverformat": HOVER, "rangemode": "normal"}
    if not xs or min(xs) <= 0 or (title != BETA and max(xs) / min(xs) <= FACTOR):
        return axis
    values = sorted(set(xs))
    room = ROOM * math.log(values[-1] / values[0])
    named = [values[-1]]
    for value in values[-2::-1]:
        if math.log(named[-1] / value) >= room and (value == values[0] or math.log(value / values[0]) >= room):
            named.append(value)
    texts = [number(value, 6) if value in named else "" for value in values]
    return {**axis, "type": "log", "tickvals": values, "ticktext": texts, "tickangle": 0}


def means(results: Sequence[Result]) -> list[Mean]:
    """The finished runs of one line by their x: seeds are averaged."""
    by_x: dict[float, list[Result]] = defaultdict(list)
    for one in results:
        if one.finished:
            by_x[one.x].append(one)
    found = []
    for x, group in sorted(by_x.items()):
        steps = {one.step for one in group}
        if len(group) == 1:
            found.append(Mean(x, group[0].reward, group[0].stderr, 1, group[0].n, group[0].step))
        else:
            mean, stderr = mean_and_stderr([one.reward for one in group])
            found.append(
                Mean(
                    x,
                    mean,
                    None if math.isnan(stderr) else stderr,
                    len(group),
                    group[0].n,
                    steps.pop() if len(steps) == 1 else None,
                )
            )
    return found


def _n(points: Sequence[Mean]) -> str:
    """Over what the bars of a line are.

    >>> _n([Mean(0.1, 1.0, 0.1, 3, 64, None), Mean(0.2, 1.0, 0.1, 2, 64, None), Mean(0.3, 1.0, 0.1, 1, 64, None)])
    '2 to 3 seeds or 64 prompts'
    """
    seeds = sorted({point.seeds for point in points if point.seeds > 1})
    prompts = sorted({point.n for point in points if point.seeds == 1})
    spans = ((some[0], some[-1], what) for some, what in ((seeds, "seeds"), (prompts, "prompts")) if some)
    return " or ".join(f"{low:,} {what}" if low == high else f"{low:,} to {high:,} {what}" for low, high, what in spans)


def as_csv(results: Sequence[Result], x_title: str) -> str:
    """One run a line: what the figure is drawn from."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["run", "algorithm", "variant", "series", x_title.lower(), "reward_mean", "reward_stderr", "prompts",
                     "step", "finished"])  # fmt: skip
    for one in results:
        writer.writerow([one.name, one.algorithm, one.variant or "", one.series, one.x, one.reward,
                         "" if one.stderr is None else one.stderr, one.n, one.step, str(one.finished).lower()])  # fmt: skip
    return out.getvalue()


def _lines(results: Sequence[Result]) -> Mapping[tuple[str, str | None, str], list[Result]]:
    lines: dict[tuple[str, str | None, str], list[Result]] = defaultdict(list)
    for one in results:
        lines[one.algorithm, one.variant, one.line or one.series].append(one)
    return lines


def _dots(chosen: Sequence[Result], symbol: str, opacity: float, common: Mapping[str, Any]) -> go.Scatter:
    told = [
        [f"{one.name}<br>{_told(one.reward, one.stderr, 'stderr')}{'' if one.finished else f' at step {one.step:,}, not finished'}",
         one.step, one.stderr, f"{one.n:,} prompts"]
        for one in chosen
    ]  # fmt: skip
    return go.Scatter(
        x=[one.x for one in chosen], y=[one.reward for one in chosen], mode="markers", showlegend=False, opacity=opacity,
        name="runs" if symbol == "circle" else "not finished", customdata=told,
        marker={"size": 6 if symbol == "circle" else 9, "symbol": symbol, "color": COLOURS[chosen[0].algorithm]},
        hovertemplate="%{customdata[0]}<extra></extra>", **common,
    )  # fmt: skip


def _told(mean: float, width: float | None, band: Band) -> str:
    return with_error(mean, width) + ("" if width is None else f" ({BANDS[band].short})")


def _meta(role: str, algorithm: str) -> dict[str, str]:
    return {"role": role, "algorithm": algorithm, "source": "evaluation"}
