"""Figures of a data set: how long its texts are, and how far apart the rewards of a pair. Each takes the report of an analysis."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

from backend.figures.style import COLOURS, HOVER, NEUTRAL, TEMPLATE, whole_ticks

Report = Mapping[str, Any]


@dataclass(frozen=True)
class DataFigure:
    """A figure's title, its function, and whether a report has what it draws."""

    title: str
    draw: Callable[[Report], go.Figure]
    has: Callable[[Report], bool]


def prompt_lengths(report: Report) -> go.Figure:
    """Rows by the length of their prompt, in characters."""
    return _lengths(report, ["prompt"], "Prompt length (characters)")


def completion_lengths(report: Report) -> go.Figure:
    """Rows by the lengths of their completions, in characters: chosen and rejected beside each other where there are such."""
    return _lengths(report, _completions(report), "Completion length (characters)")


def reward_contrast(report: Report) -> go.Figure:
    """Pairs by the difference of their two rewards, in reward units. What is left of zero has the better completion second."""
    contrast = report["contrast"]
    drawn = go.Figure([_bars(contrast["edges"], contrast["counts"], "pairs", "contrast")])
    return _laid_out(drawn, "Reward difference (reward units)", "Pairs")


FIGURES: dict[str, DataFigure] = {
    "contrast": DataFigure(
        "Reward contrast", reward_contrast, lambda report: bool((report["contrast"] or {}).get("counts"))
    ),
    "prompt_lengths": DataFigure(
        "Prompt lengths", prompt_lengths, lambda report: (report["lengths"].get("prompt") or {}).get("max", 0) > 0
    ),
    "completion_lengths": DataFigure(
        "Completion lengths", completion_lengths, lambda report: bool(_completions(report))
    ),
}


def names_of(report: Report | None) -> list[str]:
    """The figures that a report has."""
    return [name for name, figure in FIGURES.items() if figure.has(report)] if report else []


def as_csv(figure: go.Figure) -> str:
    """Every bar, one a line: `series,from,to,count`."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["series", "from", "to", "count"])
    for trace in figure.data:
        for middle, width, count in zip(trace.x, trace.width, trace.y, strict=True):
            writer.writerow([trace.name, middle - width / 2, middle + width / 2, count])
    return out.getvalue()


def _completions(report: Report) -> list[str]:
    return [name for name in report["lengths"] if name != "prompt"]


def _lengths(report: Report, names: Sequence[str], title: str) -> go.Figure:
    drawn = go.Figure()
    for index, name in enumerate(names):
        found = report["lengths"][name]
        drawn.add_trace(_bars(found["edges"], found["counts"], name, "length" if index == 0 else "other_length"))
    edges = [edge for name in names for edge in report["lengths"][name]["edges"]]
    return _laid_out(drawn, title, "Rows").update_xaxes(whole_ticks(max(edges) - min(edges)))


def _bars(edges: Sequence[float], counts: Sequence[int], name: str, role: str) -> go.Bar:
    widths = [end - start for start, end in pairwise(edges)]
    return go.Bar(
        x=[start + width / 2 for start, width in zip(edges, widths, strict=False)],
        y=list(counts),
        width=widths,
        name=name,
        opacity=0.75,
        marker={"color": COLOURS["copg"] if role != "other_length" else NEUTRAL, "line": {"width": 0}},
        hovertemplate="%{y:,}",
        meta={"role": role, "source": "evaluation"},
    )


def _laid_out(drawn: go.Figure, x_title: str, y_title: str) -> go.Figure:
    drawn.update_layout(
        template=TEMPLATE,
        barmode="overlay",
        bargap=0,
        xaxis={"title": {"text": x_title}, "rangemode": "normal", "hoverformat": HOVER},
        yaxis={"title": {"text": y_title}, "rangemode": "tozero"} | whole_ticks(max(max(one.y) for one in drawn.data)),
        showlegend=len(drawn.data) > 1,
    )
    return drawn
