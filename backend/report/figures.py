"""A report's figures: what plotly.js needs to draw each on either ground, and the words beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from backend.figures import grounds
from backend.figures.grounds import Plain

GROUNDS: Sequence[grounds.Ground] = ("light", "dark")
HEIGHT = 340  # px, of a figure that does not say its own
_DASHES = {"dash": "6 4", "dot": "2 3", "dashdot": "8 3 2 3", "longdash": "12 4", "longdashdot": "14 3 2 3"}


@dataclass(frozen=True)
class Shown:
    """A figure that has something to show, as plotly.js takes it."""

    title: str
    caption: str
    figure: Plain
    wide: bool

    @property
    def height(self) -> int:
        return int(self.figure["layout"].get("height") or HEIGHT)


def key(trace: Plain) -> str:
    """Traces of one key are shown and hidden together."""
    return str(trace.get("legendgroup") or trace.get("name") or "")


def drawable(shown: Shown) -> dict[str, Any]:
    """Its numbers once, and for each ground what of its traces is another there."""
    traces = shown.figure["data"]
    return {
        "data": traces,
        "keys": [key(trace) for trace in traces],
        "looks": {
            ground: {
                "data": [grounds.look(trace, ground) for trace in traces],
                "layout": grounds.layout(shown.figure["layout"], ground),
            }
            for ground in GROUNDS
        },
    }


def legend(traces: Sequence[Plain]) -> Iterator[str]:
    """A list whose entries hide and show their curves: words of the document, which wrap, and plotly's are cut on a narrow one."""
    entries = [trace for trace in traces if trace.get("showlegend") is not False]
    if not entries:
        return
    yield '<ul class="legend">'
    for trace in entries:
        yield (
            f'<li><button type="button" aria-pressed="true" data-key="{escape(key(trace))}">{_swatch(trace)}'
            f"{escape(str(trace.get('name') or ''))}</button></li>"
        )
    yield "</ul>"


def _swatch(trace: Plain) -> str:
    line, marker = trace.get("line") or {}, trace.get("marker") or {}
    mode = str(trace.get("mode") or "lines")
    parts = []
    if "lines" in mode:
        dash = _DASHES.get(line.get("dash", ""), "")
        parts.append(
            f'<line x1="0" x2="38" y1="6" y2="6" stroke-width="{float(line.get("width", 2)):g}" stroke-dasharray="{dash}"/>'
        )
    if "markers" in mode:
        parts.append(_mark(marker))
    shades = ";".join(f"--{ground}:{grounds.colour_of(trace, ground)}" for ground in GROUNDS)
    return f'<svg width="38" height="12" aria-hidden="true" style="{shades}">{"".join(parts)}</svg>'


def _mark(marker: Mapping[str, Any]) -> str:
    is_open = str(marker.get("symbol", "")).endswith("-open")
    size = marker.get("size", 6)
    radius = min(5.0, (size if isinstance(size, int | float) else 6) / 2)
    return f'<circle cx="19" cy="6" r="{radius:g}"{"" if is_open else " class=full"}/>'
