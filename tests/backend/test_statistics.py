"""A smoothed curve is a weighted least squares fit, late nowhere, and settled once enough evaluations follow."""

from __future__ import annotations

import doctest
from collections.abc import Callable

import numpy as np
import pytest

from backend import occupancy, statistics
from backend.statistics import half_width, local_fit, mean_and_stderr

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def fitted(values: list[float | None], at: int, reach: int) -> float:
    """The same by numpy's own least squares."""
    places = [
        place for place in range(max(0, at - reach), min(len(values), at + reach + 1)) if values[place] is not None
    ]
    distance = np.array(places) - at
    weights = (1 - np.abs(distance / (reach + 1)) ** 3) ** 3
    of = np.array([values[place] for place in places], dtype=float)
    if len(places) == 1:
        return float(of[0])
    return float(np.polyval(np.polyfit(distance, of, 1, w=np.sqrt(weights)), 0))


@pytest.mark.parametrize("reach", [1, 4, 30])
def test_a_local_fit_is_least_squares_over_the_neighbours(reach: int) -> None:
    chance = np.random.default_rng(reach)
    values: list[float | None] = [float(value) for value in chance.normal(size=50).cumsum()]
    for missing in (0, 1, 20, 49):
        values[missing] = None
    found = local_fit(values, reach)
    for place, value in enumerate(values):
        if value is None:
            assert found[place] is None
        else:
            assert found[place] == pytest.approx(fitted(values, place, reach), abs=1e-9)


def test_a_straight_line_is_not_late_and_one_value_is_itself() -> None:
    assert local_fit([2.0 * step for step in range(40)], 10) == pytest.approx([2.0 * step for step in range(40)])
    assert local_fit([3.0], 5) == [3.0]
    assert local_fit([None, 3.0, None], 5) == [None, pytest.approx(3.0), None]
    assert local_fit([None, None], 5) == [None, None]
    assert local_fit([], 5) == []


def test_what_enough_evaluations_follow_has_the_same_bits_for_ever() -> None:
    values = [float(value) for value in np.random.default_rng(0).normal(size=300)]
    for reach in (1, 7, 25):
        whole = local_fit(values, reach)
        for count in (60, 131, 299):
            assert local_fit(values[:count], reach)[: count - reach] == whole[: count - reach]


@pytest.mark.parametrize(
    ("n", "draw"),
    [
        (3, lambda chance, size: chance.normal(size=size)),
        (5, lambda chance, size: chance.normal(size=size)),
        (256, lambda chance, size: chance.gamma(2.0, size=size) - 2.0),
        (256, lambda chance, size: chance.standard_t(3, size=size)),
    ],
    ids=["3 seeds", "5 seeds", "skewed rewards of 256 prompts", "heavy-tailed rewards of 256 prompts"],
)
def test_95_percent_bands_hold_the_true_mean_as_often_as_they_say(n: int, draw: Draw) -> None:
    rows = draw(np.random.default_rng(n), (4000, n))
    means, errors = np.array([mean_and_stderr(row) for row in rows]).T
    held = np.abs(means) <= half_width(errors, [n] * len(rows), "ci95")
    assert 0.93 <= held.mean() <= 0.97
    assert (np.abs(means) <= half_width(errors, [n] * len(rows), "stderr")).mean() < 0.70, (
        "one standard error is no 95 %"
    )


def test_examples() -> None:
    for module in (statistics, occupancy):
        found = doctest.testmod(module)
        assert (found.failed, found.attempted > 0) == (0, True), module.__name__
