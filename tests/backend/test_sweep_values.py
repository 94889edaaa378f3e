"""Values as people type them, and what the runs that they make are called."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.sweep_names import labels, varying
from backend.sweep_plan import put
from backend.sweep_values import parse_values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.01, 0.03, 0.1", [0.01, 0.03, 0.1]),
        (" log 0.003..0.3 x 6 ", [0.003, 0.00754, 0.0189, 0.0475, 0.119, 0.3]),
        ("LOG 1e-6 .. 1e-4 × 3", [1e-6, 1e-5, 1e-4]),
        ("0..1 x 5", [0, 0.25, 0.5, 0.75, 1]),
        ("lin 1..-1 x 3", [1, 0, -1]),
        ("3..1", [3, 2, 1]),
        ("7", [7]),
        ("constant, cosine", ["constant", "cosine"]),
        ("true, null, 1e-5", [True, None, 1e-5]),
        ('{"kind": "gold"}, [1, 2]', [{"kind": "gold"}, [1, 2]]),
        ("a..b, c", ["a..b", "c"]),
    ],
)
def test_values(text: str, values: list[Any]) -> None:
    assert parse_values(text) == values


@pytest.mark.parametrize(
    "text",
    ["", " , ", "log 0..1 x 5", "log 1..2", "1.5..3", "1..2 x 1", "1..2 x 99999", "0..5000", "a..b", "1e999..2 x 3"],
)
def test_what_is_no_list_says_so(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        parse_values(text)


@given(st.text(max_size=40))
def test_any_text_is_values_or_a_sentence(text: str) -> None:
    try:
        values = parse_values(text)
    except ValueError:
        return
    assert values
    assert all(math.isfinite(value) for value in values if isinstance(value, float))


@given(st.floats(1e-8, 1e8), st.floats(1.5, 1e6), st.integers(2, 60))
def test_logarithmic_ranges_rise_from_end_to_end(first: float, factor: float, count: int) -> None:
    last = first * factor
    values = parse_values(f"log {first!r}..{last!r} x {count}")
    assert (len(values), values[0], values[-1]) == (count, first, last)
    assert values == sorted(values)
    for at, value in enumerate(values):
        assert value == pytest.approx(first * factor ** (at / (count - 1)), rel=6e-3)


def test_fields_that_differ() -> None:
    assert varying([{"beta": 1, "seed": 0}, {"beta": 2, "seed": 0}]) == ["beta"]
    assert varying([{"beta": 1}, {"beta": 1, "seed": 0}]) == ["seed"]
    assert varying([{"beta": 1}]) == []
    assert varying([{"a": True}, {"a": 1}]) == ["a"]
    assert labels(["a.size", "b.size", "max_steps"]) == {
        "a.size": "a.size",
        "b.size": "b.size",
        "max_steps": "max steps",
    }


def test_a_path_leads_into_sections_and_lists() -> None:
    config: dict[str, Any] = {"reward": {"rewards": [{"weight": 1}, {"weight": 1}]}, "seed": 1}
    put(config, "reward.rewards.1.weight", 5)
    put(config, "optimizer.learning_rate", 1e-5)
    assert config == {
        "reward": {"rewards": [{"weight": 1}, {"weight": 5}]},
        "seed": 1,
        "optimizer": {"learning_rate": 1e-5},
    }
    for path in ("reward.rewards.2.weight", "reward.rewards.x", "seed.deep"):
        with pytest.raises(ValueError, match=r"list there has|is no section"):
            put(config, path, 1)
