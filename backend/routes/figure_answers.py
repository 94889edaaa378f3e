"""How a figure leaves: as Plotly JSON, as the numbers drawn, or as a picture. The same words for every route of figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import plotly.graph_objects as go
from anyio import CapacityLimiter
from fastapi import Query, Response

from backend.figure_images import image

Format = Annotated[
    Literal["json", "csv", "svg", "png"],
    Query(
        description="Plotly JSON, the numbers drawn as CSV, or a picture (the studio needs the extra `images` for it)."
    ),
]
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "text/csv": {"schema": {"type": "string"}},
            "image/svg+xml": {"schema": {"type": "string"}},
            "image/png": {"schema": {"type": "string", "format": "binary"}},
        }
    }
}
PICTURES = CapacityLimiter(2)
"""Threads for pictures, which take a browser's seconds: not those that viewers wait for."""
MEDIA = {"csv": "text/csv", "svg": "image/svg+xml", "png": "image/png"}


def file(form: Literal["csv", "svg", "png"], name: str, drawn: go.Figure, as_csv: Callable[[], str]) -> Response:
    """The figure as a file to keep. Raises Invalid where this studio makes no pictures."""
    return attached(form, name, as_csv().encode() if form == "csv" else image(drawn, form))


def attached(form: Literal["csv", "svg", "png"], name: str, content: bytes) -> Response:
    """The answer that a browser saves as `name.form`."""
    attachment = {"Content-Disposition": f'attachment; filename="{name}.{form}"'}
    return Response(content, media_type=MEDIA[form], headers=attachment)
