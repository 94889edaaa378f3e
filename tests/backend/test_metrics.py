"""Metric points: an append that may be repeated, and curves that keep their shape when thinned."""

from __future__ import annotations

import math
import random
import threading
import time

import pytest

from backend import metrics, runs
from backend.database import Database
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


@pytest.mark.parametrize(("count", "limit"), [(1, 2), (50, 50), (51, 50), (999, 2), (999, 3), (999, 4), (1000, 100)])
def test_a_thinned_curve_keeps_its_ends_within_the_limit_and_in_order(
    database: Database, count: int, limit: int
) -> None:
    run = new(database)
    numbers = random.Random(count)
    measured = {step: {"loss": numbers.choice([None, numbers.random()])} for step in range(3, 3 + 7 * count, 7)}
    append(database, run, measured)
    with database.snapshot() as session:
        steps, values = metrics.curve(session, run, ["loss"], max_points=limit)["loss"]
    assert len(steps) <= limit
    assert len(steps) == count or count > limit
    assert steps == sorted(set(steps))
    assert steps[0] == 3
    assert steps[-1] == 3 + 7 * (count - 1)
    assert values == [measured[step]["loss"] for step in steps]


def test_a_whole_curve_keeps_its_gaps_and_its_order(database: Database) -> None:
    run = new(database)
    measured = {step: None if step % 3 == 0 else step / 7 for step in range(300)}
    for begin in (150, 0):  # the later half first
        append(database, run, {step: {"loss": measured[step]} for step in range(begin, begin + 150)})
    with database.snapshot() as session:
        assert metrics.curve(session, run, ["loss"], max_points=1000)["loss"] == (
            list(measured),
            list(measured.values()),
        )
        after = metrics.curve(session, run, ["loss"], after=289, until=297)["loss"]
    assert after == (list(range(290, 298)), [measured[step] for step in range(290, 298)])


@pytest.mark.parametrize("places", [(2, 4001), (500, 9998), (1, 9999)])
def test_thinning_keeps_every_spike_once(database: Database, places: tuple[int, int]) -> None:
    run = new(database)
    down, up = places
    append(database, run, {step: {"loss": {down: -7.0, up: 7.0}.get(step, 0.0)} for step in range(10_001)})
    with database.snapshot() as session:
        steps, values = metrics.curve(session, run, ["loss"], max_points=100)["loss"]
    assert (down, -7.0) in zip(steps, values, strict=True)
    assert (up, 7.0) in zip(steps, values, strict=True)
    assert len(steps) <= 100


@pytest.mark.parametrize("most_packed", [0, 10**6])
@pytest.mark.parametrize("limit", [4, 5, 60, 999])
def test_thinning_keeps_the_extremes_of_every_stretch(
    database: Database, limit: int, most_packed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "_MOST_PACKED", most_packed)
    numbers = random.Random(limit)
    steps = sorted(numbers.sample(range(7, 30_000), 1500))
    measured = {step: numbers.choice([None, numbers.random(), numbers.random() * 1e-300, 0.5]) for step in steps}
    run = new(database)
    append(database, run, {step: {"loss": value} for step, value in measured.items()})
    with database.snapshot() as session:
        found = dict(zip(*metrics.curve(session, run, ["loss"], max_points=limit)["loss"], strict=True))
    assert all(measured[step] == value for step, value in found.items())
    first, last = steps[0], steps[-1]
    width = math.ceil((last - first - 1) / ((limit - 2) // 2))
    for low in range(first + 1, last, width):
        stretch = [measured[step] for step in steps if low <= step < min(low + width, last)]
        known = [value for value in stretch if value is not None]
        shown = [value for step, value in found.items() if low <= step < min(low + width, last)]
        assert len(shown) <= 2
        assert set(shown) == ({min(known), max(known)} if known else set())


def test_thinning_starts_after_the_cursor(database: Database) -> None:
    run = new(database)
    append(database, run, {step: {"loss": float(step)} for step in range(1000)})
    with database.snapshot() as session:
        steps, _ = metrics.curve(session, run, ["loss"], after=499, max_points=10)["loss"]
    assert steps[0] == 500
    assert steps[-1] == 999
    assert len(steps) <= 10
