"""A comparison's figure on a light and on a dark ground, for documents of our own that plotly.js draws without the page.

The colours are those of frontend/src/theme.ts, and which trace has which follows frontend/src/components/plotly.ts: whoever reads the
page beside a report sees the same curve in the same colour (tests/backend/test_colours.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from backend.figures.style import COLOURS, faint

Ground = Literal["light", "dark"]
Plain = Mapping[str, Any]
"""A figure, a trace or a layout as plotly.js takes it."""

ALGORITHMS: Mapping[Ground, Mapping[str, str]] = {
    "light": COLOURS,
    "dark": {
        "copg": "#56b4e9",
        "dpo": "#ed7c1e",
        "ipo": "#0ca96e",
        "policy_gradient": "#9784fd",
        "reward_model": "#d18fb3",
        "sft": "#b6c4cc",
        "pg": "#c975b0",
        "pg_value": "#ecc943",
        "rloo": "#9685fe",
    },
}
SURFACES: Mapping[Ground, Mapping[str, str]] = {
    "light": {
        "ground": "#f6f7f9",
        "surface": "#ffffff",
        "border": "#e2e5ea",
        "text": "#171a1f",
        "muted": "#59616e",
        "grid": "#eaecf0",
        "accent": "#0067a8",
    },
    "dark": {
        "ground": "#0e1116",
        "surface": "#161a21",
        "border": "#272d38",
        "text": "#e8eaee",
        "muted": "#9aa3b0",
        "grid": "#242a34",
        "accent": "#56b4e9",
    },
}
_BAND: Mapping[Ground, float] = {"light": 0.15, "dark": 0.2}
_FONT = "system-ui, -apple-system, 'Segoe UI', sans-serif"
_ALPHA = re.compile(r"rgba\([^)]*,\s*([\d.]+)\)")


def colour_of(trace: Plain, ground: Ground) -> str:
    """A trace's colour: its own where it says something, as beta's does, that of its algorithm, or grey for what belongs to none."""
    meta = trace.get("meta") or {}
    if shades := meta.get("colours"):
        return str(shades[ground])
    if str(meta.get("role", "")).startswith("reference"):
        return SURFACES[ground]["muted"]
    return ALGORITHMS[ground].get(meta.get("algorithm", ""), SURFACES[ground]["accent"])


def look(trace: Plain, ground: Ground) -> dict[str, Any]:
    """What of a trace is another on this ground: its lines, marks and fill."""
    base = colour_of(trace, ground)
    marker = dict(trace.get("marker") or {})
    if "line" in marker:
        marker["line"] = {**marker["line"], "color": base}
    marker["color"] = _as_faint(marker.get("color"), base)
    line = dict(trace.get("line") or {})
    found: dict[str, Any] = {"marker": marker}
    if trace.get("type", "scatter") == "scatter":
        found["line"] = {**line, "color": _as_faint(line.get("color"), base)}
    if trace.get("fill"):
        found["fillcolor"] = faint(base, _BAND[ground])
    return found


def layout(given: Plain, ground: Ground) -> dict[str, Any]:
    """The whole layout on this ground, as wide as its place is, without a legend: that is words of the document."""
    surface = SURFACES[ground]
    axes = {name: _axis(name, own, surface) for name, own in given.items() if re.fullmatch(r"[xy]axis\d*", name)}
    kept = {name: value for name, value in given.items() if name not in {"template", "width", "height"}}
    return {
        "margin": {"l": 52, "r": 12, "t": 10, "b": 40},
        "hovermode": "x unified",
        **kept,
        **axes,
        "autosize": True,
        "showlegend": False,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": _FONT, "size": 12, "color": surface["text"]},
        "hoverlabel": {
            **given.get("hoverlabel", {}),
            "bgcolor": surface["surface"],
            "bordercolor": surface["border"],
            "font": {"family": _FONT, "color": surface["text"], "size": 12},
        },
        "modebar": {
            "bgcolor": "rgba(0,0,0,0)",
            "color": surface["muted"],
            "activecolor": surface["accent"],
            "orientation": "h",
        },
    }


def _axis(name: str, own: Plain, surface: Mapping[str, str]) -> dict[str, Any]:
    title = own.get("title") or {}
    font = {"color": surface["muted"], "size": 12}
    common = {"zeroline": False, "ticks": "", "automargin": True, "ticklabeloverflow": "allow", **own}
    common |= {
        "gridcolor": surface["grid"],
        "linecolor": surface["border"],
        "tickfont": {"color": surface["muted"], "size": 11},
        "title": {**title, "font": font, "standoff": 8},
    }
    return {"rangemode": "tozero", **common, "showgrid": False, "showline": True} if name == "xaxis" else common


def _as_faint(given: Any, base: str) -> str:
    """`base`, as transparent as the colour that Python drew with."""
    found = _ALPHA.match(given) if isinstance(given, str) else None
    return faint(base, float(found[1])) if found else base
