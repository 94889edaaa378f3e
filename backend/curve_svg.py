"""One curve with its band of standard errors as an SVG, for a model card: no browser and no drawing library needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from copg_core.wording import number

_WIDTH, _HEIGHT = 720, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 20, 20, 52
_INK, _GRID = "#57606a", "#8c959f"  # legible on white and on black


def curve(
    steps: Sequence[int],
    means: Sequence[float | None],
    errors: Sequence[float | None],
    *,
    title: str,
    y_title: str,
    colour: str,
) -> str:
    """`means` over `steps`, each with a band of one standard error where that is known. Missing values are gaps."""
    points = [
        (step, mean, error or 0.0)
        for step, mean, error in zip(steps, means, errors, strict=True)
        if mean is not None and math.isfinite(mean)
    ]
    if not points:
        return ""
    y_ticks = ticks(min(mean - error for _, mean, error in points), max(mean + error for _, mean, error in points))
    x_ticks = ticks(0, max(1, points[-1][0]))
    x_end = max(x_ticks[-1], points[-1][0])

    def x(step: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * step / x_end, 1)

    def y(value: float) -> float:
        low, high = y_ticks[0], y_ticks[-1]
        return round(_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (value - low) / (high - low), 1)

    upper = [f"{x(step)},{y(mean + error)}" for step, mean, error in points]
    lower = [f"{x(step)},{y(mean - error)}" for step, mean, error in reversed(points)]
    line = " ".join(f"{x(step)},{y(mean)}" for step, mean, _ in points)
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'font-family="Inter, system-ui, sans-serif" font-size="13" fill="{_INK}">'
    )
    parts = [opening, f"<title>{escape(title)}</title>"]
    parts += [
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(tick)}" y2="{y(tick)}" stroke="{_GRID}" stroke-opacity="0.3"/>'
        f'<text x="{_LEFT - 8}" y="{y(tick) + 4}" text-anchor="end">{_label(tick)}</text>'
        for tick in y_ticks
    ]
    parts += [
        f'<text x="{x(tick)}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle">{_label(tick)}</text>'
        for tick in x_ticks
    ]
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts += [
        f'<polygon points="{" ".join(upper + lower)}" fill="{colour}" fill-opacity="0.18"/>',
        f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>',
        *(f'<circle cx="{x(step)}" cy="{y(mean)}" r="2.5" fill="{colour}"/>' for step, mean, _ in points),
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 12}" text-anchor="middle">Optimizer step</text>',
        f'<text transform="rotate(-90 18 {middle})" x="18" y="{middle}" text-anchor="middle">{escape(y_title)}</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers whose first and last enclose both ends.

    >>> ticks(0.13, 0.92)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if high <= low:
        pad = abs(low) * 0.1 or 1.0
        low, high = low - pad, high + pad
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, max(last, first + 1) + 1)]


def _label(value: float) -> str:
    return number(value)
