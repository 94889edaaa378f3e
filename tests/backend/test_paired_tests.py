"""Paired comparisons: against scipy, by simulation, and at the edges."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from backend.paired_tests import compare, holm, sign_test

Draw = Callable[[np.random.Generator, int], np.ndarray[Any, Any]]
# Differences with a true mean of zero, as rewards of two policies on the same prompts have them.
DIFFERENCES: dict[str, Draw] = {
    "normal": lambda random, n: random.normal(size=n),
    "heavy tails": lambda random, n: random.standard_t(3, size=n),
    "skewed": lambda random, n: random.gamma(2.0, size=n) - 0.5 * random.gamma(2.0, size=n) - 1.0,
    "right or wrong": lambda random, n: (random.random(n) < 0.6).astype(float) - (random.random(n) < 0.6),
}


@pytest.mark.parametrize("n", [64, 256])
@pytest.mark.parametrize("kind", DIFFERENCES)
def test_intervals_cover_as_often_as_they_say_and_tests_err_as_often(kind: str, n: int) -> None:
    random = np.random.default_rng(n)
    seen = [compare(DIFFERENCES[kind](random, n), np.zeros(n), resamples=999, seed=number) for number in range(1500)]
    assert 0.93 <= np.mean([one.low <= 0 <= one.high for one in seen]) <= 0.97
    assert 0.03 <= np.mean([one.p <= 0.05 for one in seen]) <= 0.07
    assert np.mean([one.p_sign <= 0.05 for one in seen if kind != "skewed"] or [0]) <= 0.07


def test_the_pairing_is_used() -> None:
    """Prompts differ far more than policies do: only their differences can show it."""
    random = np.random.default_rng(0)
    prompts = random.normal(0, 10, 200)
    first, second = prompts + 0.6 + random.normal(0, 1, 200), prompts + random.normal(0, 1, 200)
    assert compare(first, second).p < 0.01
    assert scipy.stats.ttest_ind(first, second).pvalue > 0.5


def test_close_to_student_where_student_is_right_and_to_scipys_sign_test() -> None:
    random = np.random.default_rng(3)
    first, second = random.normal(0.15, 1, 300), random.normal(0, 1, 300)
    ours, student = compare(first, second), scipy.stats.ttest_rel(first, second)
    interval = student.confidence_interval(0.95)
    assert ours.p == pytest.approx(student.pvalue, abs=0.02)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), abs=0.01)
    assert ours.stderr == pytest.approx(scipy.stats.sem(first - second))
    assert ours.p_sign == pytest.approx(scipy.stats.binomtest(ours.wins, ours.wins + ours.losses).pvalue)


def test_wider_than_a_percentile_interval_of_scipy_for_few_skewed_prompts() -> None:
    values = np.random.default_rng(5).lognormal(0, 1, 20)
    scipys = scipy.stats.bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(0))
    ours = compare(values, np.zeros(20))
    assert ours.high - ours.low > scipys.confidence_interval.high - scipys.confidence_interval.low


def test_the_family_errs_no_more_often_than_one_test() -> None:
    random = np.random.default_rng(11)
    alarms = 0
    for number in range(400):
        found = [compare(random.normal(size=64), np.zeros(64), resamples=999, seed=number).p for _ in range(8)]
        alarms += min(holm(found)) <= 0.05
    assert alarms / 400 <= 0.08
    assert alarms > 0


def test_edges() -> None:
    nothing = compare([None, 1.0], [1.0, float("nan")])
    assert (nothing.n, math.isnan(nothing.mean), math.isnan(nothing.p)) == (0, True, True)
    one = compare([2.0], [1.0])
    assert (one.n, one.mean, math.isnan(one.p), one.p_sign, one.wins) == (1, 1.0, True, 1.0, 1)
    same = compare([0.1, 0.2, 0.3], [0.1, 0.2, 0.3])
    assert (same.mean, same.low, same.high, same.p, same.ties) == (0.0, 0.0, 0.0, 1.0, 3)
    shifted = compare(np.arange(12) + 0.5, np.arange(12))
    assert (shifted.low, shifted.high, shifted.p) == (0.5, 0.5, pytest.approx(2 * 0.5**12))
    assert compare([1.0, 3.0], [0.0, 0.0]).high >= 2.0
    assert compare([1.0, float("inf"), 2.0], [0.0, 0.0, 0.0]).n == 2
    with pytest.raises(ValueError, match="one for each prompt"):
        compare([1.0], [1.0, 2.0])


def test_the_same_numbers_give_the_same_answer_and_many_prompts_fit_into_memory() -> None:
    values = np.random.default_rng(0).normal(0.01, 1, 50_000)
    first = compare(values, np.zeros(50_000), resamples=200)
    assert first == compare(values, np.zeros(50_000), resamples=200)
    assert first.low < 0.01 < first.high


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_orders_and_bounds(p_values: list[float]) -> None:
    corrected = holm(p_values)
    assert all(p <= c <= 1 for p, c in zip(p_values, corrected, strict=True))
    by_size = [c for _, c in sorted(zip(p_values, corrected, strict=True))]
    assert by_size == sorted(by_size)


def test_holm_by_hand_and_without_what_is_no_number() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    found = holm([0.02, float("nan"), 0.03])
    assert found[0] == pytest.approx(0.04)
    assert math.isnan(found[1])
    assert sign_test(0, 0) == 1.0


def test_rewards_may_have_any_scale() -> None:
    left, right = np.random.default_rng(0).normal(size=(2, 40))
    usual, tiny = compare(left, right), compare(left * 1e-12, right * 1e-12)
    assert (tiny.p, tiny.p_sign) == (usual.p, usual.p_sign)
    assert tiny.stderr == pytest.approx(usual.stderr * 1e-12)
    assert compare(left + 1e6, left + 1e6 - 0.25).stderr == 0.0  # what differs by less than rounding does not differ


def test_what_differs_by_rounding_is_a_tie() -> None:
    score = np.full(20, 0.1)
    of_three = (score + score + score) / 3
    assert (of_three != score).all()  # the mean of three seeds is another float
    same = compare(of_three, score)
    assert (same.wins, same.losses, same.ties, same.mean, same.p, same.p_sign) == (0, 0, 20, 0.0, 1.0, 1.0)
    small = compare(
        np.array([1e-9, 2e-9, 1e6]), np.array([2e-9, 3e-9, 1e6])
    )  # beside a large one a small one still counts
    assert (small.losses, small.ties) == (2, 1)
