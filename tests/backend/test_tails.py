"""New ends of curves: what is sent completes what a viewer has, and what changed before the end is sent whole."""

from __future__ import annotations

import copy
import re
from typing import Any

from backend.figures import tails


def figure(*lengths: int, name: str = "a") -> dict[str, Any]:
    data = [
        {
            "name": f"{name}{place}", "x": list(range(n)), "y": [value / 7 for value in range(n)],
            "customdata": [value * 10 for value in range(n)], "marker": {"color": "red"},
        }
        for place, n in enumerate(lengths)
    ]  # fmt: skip
    return {"data": data, "layout": {"title": "t"}}


def completed(held: dict[str, Any], ends: list[dict[str, Any]]) -> dict[str, Any]:
    """What a viewer makes of both."""
    made = copy.deepcopy(held)
    for trace, end in zip(made["data"], ends, strict=True):
        for name, array in end["arrays"].items():
            trace[name] = trace[name][: end["start"]] + array
    return made


def test_ends_complete_what_a_viewer_has() -> None:
    held, now = figure(3, 1, 5), figure(6, 2, 5)
    known = tails.cursor(held)
    assert re.match(tails.PATTERN, known)
    ends = tails.after(now, known)
    assert ends is not None
    assert [end["start"] for end in ends] == [2, 0, 4]
    assert [len(end["arrays"]["x"]) for end in ends] == [4, 2, 1]
    assert completed(held, ends) == now
    assert tails.cursor(completed(held, ends)) == tails.cursor(now)


def test_a_last_point_may_change_and_an_earlier_one_may_not() -> None:
    held, now = figure(3), figure(4)
    now["data"][0]["y"][2] = 9.0
    ends = tails.after(now, tails.cursor(held))
    assert ends is not None
    assert completed(held, ends) == now
    now["data"][0]["y"][1] = 9.0
    assert tails.after(now, tails.cursor(held)) is None


def test_another_name_layout_or_number_of_curves_is_another_figure() -> None:
    known = tails.cursor(figure(3))
    assert tails.after(figure(3, name="b"), known) is None
    assert tails.after({**figure(3), "layout": {}}, known) is None
    assert tails.after(figure(3, 1), known) is None
    assert tails.after(figure(1), known) is None
    assert tails.after(figure(3), "0" * 16) is None
    assert tails.after({"data": [], "layout": {}}, tails.cursor({"data": [], "layout": {}})) == []


def test_a_curve_that_lost_points_is_another_figure() -> None:
    assert tails.after(figure(2), tails.cursor(figure(5))) is None
