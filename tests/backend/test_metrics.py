"""Metric points: an append that may be repeated, and curves that keep their shape when thinned."""

from __future__ import annotations

import math
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend import metrics, runs
from backend.database import Database
from backend.metrics import thin
from copg_core.config import SFTConfig


def new(database: Database) -> int:
    with database.transaction() as session:
        return runs.create(session, SFTConfig()).id


def append(database: Database, run_id: int, points: dict[int, dict[str, float | None]]) -> None:
    with database.transaction() as session:
        metrics.append(session, run_id, points)


def test_points_come_back_in_order_and_after_a_cursor(database: Database) -> None:
    run, other = new(database), new(database)
    append(database, run, {2: {"loss": 2.0, "kl": 0.2}, 1: {"loss": 1.0}})
    append(database, run, {3: {"loss": 3.0}})
    append(database, other, {9: {"other": 9.0}})
    with database.snapshot() as session:
        assert metrics.curve(session, run, ["loss", "nothing"]) == {
            "loss": ([1, 2, 3], [1.0, 2.0, 3.0]),
            "nothing": ([], []),
        }
        assert metrics.curve(session, run, ["loss"], after=2)["loss"] == ([3], [3.0])
        assert metrics.names(session, run) == ["kl", "loss"]


def test_a_point_that_is_written_again_stands_once_with_its_last_value(database: Database) -> None:
    run = new(database)
    append(database, run, {1: {"loss": 1.0}})
    append(database, run, {1: {"loss": 5.0}})
    with database.snapshot() as session:
        assert metrics.curve(session, run, ["loss"])["loss"] == ([1], [5.0])


def test_what_is_no_number_is_a_gap(database: Database) -> None:
    run = new(database)
    append(database, run, {1: {"loss": math.nan}, 2: {"loss": math.inf}, 3: {"loss": None}})
    with database.snapshot() as session:
        assert metrics.curve(session, run, ["loss"])["loss"] == ([1, 2, 3], [None, None, None])


def test_writers_that_meet_at_new_names_agree_on_them(database: Database) -> None:
    run = new(database)
    barrier = threading.Barrier(4)
    failures: list[BaseException] = []

    def write(writer: int) -> None:
        barrier.wait()
        for step in range(5):
            for _ in range(3):
                try:
                    append(database, run, {writer * 10 + step: {f"m{i}": 1.0 for i in range(6)}})
                    break
                except Exception as error:  # noqa: BLE001 - collected for the assertion
                    failures.append(error)
                    time.sleep(0.01)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with database.snapshot() as session:
        assert len(metrics.curve(session, run, ["m5"])["m5"][0]) == 20


@given(
    st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)), max_size=300),
    st.integers(min_value=2, max_value=50),
)
def test_thinning_keeps_the_ends_within_the_limit_and_in_order(values: list[float | None], limit: int) -> None:
    kept = thin(values, limit)
    assert len(kept) <= max(limit, 2)
    assert kept == sorted(set(kept))
    if values:
        assert kept[0] == 0
        assert kept[-1] == len(values) - 1


@pytest.mark.parametrize("place", [1, 500, 4321, 9998])
def test_thinning_keeps_every_spike(place: int) -> None:
    values: list[float | None] = [0.0] * 10_000
    values[place] = -7.0
    assert place in thin(values, 100)
