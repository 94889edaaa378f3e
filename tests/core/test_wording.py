"""Numbers that people read are those of the page: its rounding, its minus (frontend/src/format.test.ts has the same cases)."""

from __future__ import annotations

import doctest

import pytest

from copg_core import wording
from copg_core.wording import fixed, number, with_error


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.06, "0.06"), (1.23456, "1.235"), (12_345, "12,345"), (1e-6, "1e−6"), (2.5e-7, "2.5e−7"), (-0.00002, "−2e−5"),
     (-5.6249, "−5.625"), (-1200, "−1,200"), (1234.56, "1235"), (2_500_000, "2.5e6"), (float("-inf"), "−inf"), (float("nan"), "nan")],
)  # fmt: skip
def test_significant_digits(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize("share", [place / 16 for place in range(-16, 17)])
def test_halves_are_rounded_as_a_browser_does(share: float) -> None:
    """Means over 16 prompts of what is right or wrong end in a half at three decimals, which Python rounds to the even neighbour."""
    exact = round(abs(share) * 10_000)  # k / 16 has four decimals
    thousandths = (exact + 5) // 10
    assert fixed(share) == f"{'−' if share < 0 else ''}{thousandths // 1000}.{thousandths % 1000:03d}"


def test_no_number_is_too_large_or_not_one() -> None:
    assert [fixed(value) for value in (1e300, -1e21, float("inf"))] == ["1e300", "−1e21", "inf"]
    assert with_error(1.0, float("nan")) == "1.000"
    assert with_error(-3, 1e-9) == "−3.000000 ± 0.000000"


def test_the_examples() -> None:
    assert doctest.testmod(wording).failed == 0
