"""The one look of every figure, and the few kinds of trace that they are drawn with.

Each trace carries `meta`: `role` (what it shows), `algorithm` (whose colour it has) and `source` (`metric` or
`evaluation`: which cursor its points are counted by), so that a page can recolour it and append to it. Points travel as
`x` and `y` alone, which is why hover texts are made from those two: a band's edges say the standard error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple, cast

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from backend import statistics

Source = Literal["metric", "evaluation"]
Values = Sequence[float | None]

# Fixed for each algorithm everywhere, and as the page has them on a light ground. Okabe and Ito's palette, moved until those
# that meet in a figure stay apart for people with any colour vision (tests/backend/test_colours.py).
COLOURS = {
    "copg": "#0067a8",
    "dpo": "#b44f00",
    "ipo": "#199174",
    "policy_gradient": "#7d59db",
    "reward_model": "#803175",
    "sft": "#6d605c",
    "pg": "#872353",
    "pg_value": "#b4830a",
    "rloo": "#3f31a9",
}
GOLD = "#B8860B"
NEUTRAL = "#808080"
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")  # what tells curves of one colour apart
# Ends of viridis that are legible on white and on black; the page takes the one of its ground.
_SCALE = {"light": (0.0, 0.78), "dark": (0.3, 1.0)}
# How hovering writes a number: four significant digits without zeros at the end, also of what has more before its point, and no exponent,
# which d3-format has from 1e-6 down and from 10,000 up or not at all. It is given to axes: there plotly.js writes a real minus, in a template
# (`%{y:…}`) it would write a hyphen.
HOVER = ",.4~r"
HOVER_SHARE = ".3~p"
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "Inter, system-ui, sans-serif", "size": 13},
        "margin": {"l": 64, "r": 24, "t": 16, "b": 48},
        "hovermode": "x unified",
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"},
        "xaxis": {"showgrid": False, "zeroline": False, "ticks": "outside", "rangemode": "tozero", "hoverformat": ",d"},
        "yaxis": {"zeroline": False, "gridcolor": "rgba(128,128,128,0.2)"},
        "plot_bgcolor": "rgba(0,0,0,0)",
        "paper_bgcolor": "rgba(0,0,0,0)",
    }
)


def whole_ticks(span: float) -> dict[str, int]:
    """Of an axis of counts or lengths: one tick for each, where plotly would put some between them because there are few."""
    return {"dtick": 1} if span <= 6 else {}


_POINTS_ALONE: ContextVar[bool] = ContextVar("points_alone", default=False)


class _Bare(SimpleNamespace):
    """Stands for a figure or a trace of which the points alone are asked for."""

    def update_layout(self, **_: Any) -> None:
        """There is none."""


@contextmanager
def points_alone() -> Iterator[None]:
    """Inside, traces are made of `x`, `y` and `meta`, and figures of traces. They are appended to a figure that has all else, and
    plotly, which checks each property, takes longer for it than whatever else an answer with points needs."""
    before = _POINTS_ALONE.set(True)
    try:
        yield
    finally:
        _POINTS_ALONE.reset(before)


def _scatter(**properties: Any) -> go.Scatter:
    if _POINTS_ALONE.get():
        return cast(go.Scatter, _Bare(**{name: properties[name] for name in ("x", "y", "meta")}))
    return go.Scatter(**properties)


def figure(traces: Sequence[go.Scatter], y_title: str, *, second_y: str | None = None, **y_axis: Any) -> go.Figure:
    """A figure over optimizer steps. `second_y` titles an axis on the right, for traces with yaxis="y2"."""
    if _POINTS_ALONE.get():
        return cast(go.Figure, _Bare(data=tuple(traces)))
    drawn = go.Figure(list(traces))
    drawn.update_layout(
        template=TEMPLATE,
        xaxis={"title": {"text": "Optimizer step"}, "hoverformat": ",d"},
        yaxis={"title": {"text": y_title}, "hoverformat": HOVER} | y_axis,
        uirevision="keep",  # zoom and hidden traces survive a redraw
    )
    if second_y is not None:
        right = {"overlaying": "y", "side": "right", "showgrid": False}
        drawn.update_layout(yaxis2={"title": {"text": second_y}, "hoverformat": HOVER, **right})
    return drawn


def line(
    x: Sequence[int],
    y: Values,
    name: str,
    *,
    role: str,
    algorithm: str,
    source: Source,
    colour: str | None = None,
    dash: str = "solid",
    width: float = 2,
    opacity: float = 1.0,
    markers: bool = False,
    axis: str = "y",
) -> go.Scatter:
    """One curve; a missing value is a gap."""
    return _scatter(
        x=list(x),
        y=list(y),
        name=name,
        mode="lines+markers" if markers else "lines",
        line={"color": colour or COLOURS[algorithm], "width": width, "dash": dash},
        marker={"size": 5},
        opacity=opacity,
        hovertemplate="%{y}",
        meta={"role": role, "algorithm": algorithm, "source": source},
        yaxis=axis,
    )


def raw(x: Sequence[int], y: Values, name: str, *, role: str, algorithm: str) -> go.Scatter:
    """What the optimizer saw, batch by batch: light and not smoothed."""
    return line(
        x, y, name, role=role, algorithm=algorithm, source="metric", width=1, opacity=0.55
    )  # fmt: skip


class BandWords(NamedTuple):
    """How the edges of a band, a curve with one, and a number with its error are named."""

    below: str
    above: str
    both: str
    short: str


BANDS: Mapping[statistics.Band, BandWords] = {
    "stderr": BandWords("− 1 s.e.", "+ 1 s.e.", " ± 1 s.e.", "s.e."),
    "ci95": BandWords("95 % interval, lower end", "95 % interval, upper end", ", 95 % interval", "95 %"),
}


def mean_with_band(
    x: Sequence[int],
    mean: Values,
    stderr: Values,
    name: str,
    *,
    role: str,
    algorithm: str,
    colour: str | None = None,
    dash: str = "solid",
    axis: str = "y",
) -> list[go.Scatter]:
    """Lower edge, upper edge and mean: a band of one standard error to either side. Missing errors close the band."""
    colour = colour or COLOURS[algorithm]
    lower, upper = statistics.band(mean, stderr)
    edges = [
        _scatter(
            x=list(x),
            y=statistics.as_values(edge),
            name=f"{sign} 1 s.e.",
            mode="lines",
            line={"width": 0, "color": colour},
            fill=fill,
            fillcolor=faint(colour),
            hovertemplate="%{y}",
            showlegend=False,
            legendgroup=role,
            meta={"role": f"{role}_{end}", "algorithm": algorithm, "source": "evaluation"},
            yaxis=axis,
        )
        for edge, sign, end, fill in ((lower, "−", "lower", None), (upper, "+", "upper", "tonexty"))
    ]
    centre = line(
        x, mean, name, role=role, algorithm=algorithm, source="evaluation", colour=colour, dash=dash,
        markers=True, axis=axis,
    )  # fmt: skip
    centre.legendgroup = role
    return [*edges, centre]


def meta(trace: go.Scatter) -> Mapping[str, str]:
    """The `meta` of a trace made here."""
    return dict(trace.meta)


def faint(colour: str, opacity: float = 0.18) -> str:
    """The colour of a band around a curve of this colour."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def sequential(share: float) -> dict[str, str]:
    """The colour at `share` (0 to 1) of the scale for ordered values, darkest first, for a light and a dark ground."""
    found = {}
    for ground, (low, high) in _SCALE.items():
        [colour] = sample_colorscale("Viridis", low + share * (high - low))
        parts = [round(float(part)) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
        found[ground] = "#" + "".join(f"{part:02x}" for part in parts)
    return found
