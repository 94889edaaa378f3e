"""Figures as SVG and PNG: what the page shows, drawn by plotly.js in a headless Chrome that kaleido starts for each.

Both are optional: the extra `images`, and Chrome or Chromium on the machine of the web process. Without them a figure still leaves as
JSON and as CSV, and the page makes pictures by itself.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import plotly.graph_objects as go

from backend.errors import Busy, Invalid

ImageFormat = Literal["svg", "png"]
WIDTH, HEIGHT, SCALE = 900, 506, 2  # pixels, and how many of a PNG's for each of them
LINE, LETTER = 22, 7  # pixels of a legend's line and of a letter in it, about
PATIENCE = 20.0  # seconds that a picture waits for those before it
_ONE_AT_A_TIME = threading.Lock()  # each takes a browser
_IN_THE_LINE = threading.BoundedSemaphore(4)  # with the one that is drawn: who waits holds a thread that viewers need


def image(figure: go.Figure, form: ImageFormat) -> bytes:
    """The figure on a white ground, as high as it says, or as its legend needs. Raises Invalid, with the way out, where no picture can be made on this machine, and Busy where
    too many are wanted at once."""
    try:
        import kaleido.errors as errors
    except ImportError as error:
        raise _refused("the extra `images` is not installed: pip install 'copg-studio[images]'") from error
    # Words that stand over a legend: beside it they would push its entries out of the picture.
    legend = {"maxheight": 0.8, "title": {"side": "top", "font": {"size": 13}}}
    shown = go.Figure(figure).update_layout(paper_bgcolor="#ffffff", plot_bgcolor="#ffffff", legend=legend)
    height = figure.layout.height or HEIGHT + LINE * max(0, _legend_lines(figure) - 2)
    try:
        with _turn():
            return bytes(shown.to_image(format=form, width=WIDTH, height=height, scale=1 if form == "svg" else SCALE))
    except errors.ChromeNotFoundError as error:
        raise _refused("there is neither Chrome nor Chromium") from error
    except (errors.BrowserFailedError, errors.BrowserClosedError, TimeoutError) as error:
        raise _refused(f"the browser that draws it does not run ({type(error).__name__})") from error


@contextmanager
def _turn() -> Iterator[None]:
    """Raises Busy where too many wait, or for too long."""
    busy = Busy("other pictures are being drawn: ask for this one again in a minute")
    if not _IN_THE_LINE.acquire(blocking=False):
        raise busy
    try:
        if not _ONE_AT_A_TIME.acquire(timeout=PATIENCE):
            raise busy
        try:
            yield
        finally:
            _ONE_AT_A_TIME.release()
    finally:
        _IN_THE_LINE.release()


def _legend_lines(figure: go.Figure) -> int:
    """About how many lines the legend takes in a picture."""
    names = [trace.name or "" for trace in figure.data if trace.showlegend is not False]
    return math.ceil(sum(60 + LETTER * len(name) for name in names) / (0.65 * WIDTH)) + bool(
        figure.layout.legend.title.text
    )


def _refused(why: str) -> Invalid:
    return Invalid.field(
        "format", f"on the studio's machine {why}. CSV and JSON need neither, and the page makes pictures too"
    )
