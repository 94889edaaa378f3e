"""How much of a large comparison is drawn: what a browser draws anew within a tenth of a second while somebody zooms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from backend.comparisons import Comparison, Point

MOST_POINTS = 8_000
"""Of all lines of a figure, the edges of bands among them."""
MOST_BANDS = 12
"""Of more groups the bands would hide each other; hovering tells the error."""


def thinned(comparison: Comparison, most: int = MOST_POINTS) -> Comparison:
    """Every second, fourth, eighth… evaluation and the last of each curve, until at most about `most` points are left; bands while
    there are few groups.

    Points that are kept stay where they are while a curve grows, until it has doubled.
    """
    bands = len(comparison.groups) <= MOST_BANDS
    lines = (3 if bands else 1) + bool(comparison.smoothing)
    points = sum(lines * len(group.points) for group in comparison.groups)
    points += sum(len(one.points) for group in comparison.groups if len(group.members) > 1 for one in group.members)
    every = 1
    while points / every > most:
        every *= 2
    if every == 1:
        return comparison if bands else replace(comparison, bands=False)

    def kept(points: Sequence[Point]) -> list[Point]:
        ends_between = points and (len(points) - 1) % every
        return [*points[::every], *points[-1:]] if ends_between else list(points[::every])

    groups = [
        replace(
            group,
            points=kept(group.points),
            members=[replace(member, points=kept(member.points)) for member in group.members],
        )
        for group in comparison.groups
    ]
    return replace(comparison, groups=groups, every=every, bands=bands)
