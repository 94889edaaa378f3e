"""Full collections that take long take what stands out of the collector's sight, a few times."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from backend import garbage


@pytest.fixture
def keeper() -> Iterator[garbage.Keeper]:
    one = garbage.Keeper()
    one.install()
    yield one
    if one._told in gc.callbacks:
        one.remove()
    gc.unfreeze()


def test_what_is_loaded_is_out_of_sight_at_once(keeper: garbage.Keeper) -> None:
    assert gc.get_freeze_count() > 10_000
    loaded_later = [[n] for n in range(1000)]
    assert len(gc.get_objects()) < 100_000
    assert any(one is loaded_later for one in gc.get_objects())


def test_a_long_full_collection_takes_the_rest_and_a_short_one_does_not(
    keeper: garbage.Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded_later = [[n] for n in range(1000)]
    before = gc.get_freeze_count()
    monkeypatch.setattr(garbage, "LONG_SECONDS", 60.0)
    gc.collect()
    assert gc.get_freeze_count() <= before
    monkeypatch.setattr(garbage, "LONG_SECONDS", 0.0)
    gc.collect(1)
    assert gc.get_freeze_count() <= before, "of a younger generation"
    gc.collect()
    assert gc.get_freeze_count() > before
    assert not any(one is loaded_later for one in gc.get_objects())


def test_it_is_done_a_few_times_only(keeper: garbage.Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "LONG_SECONDS", 0.0)
    for _ in range(garbage.MOST_TIMES):
        gc.collect()
    assert keeper._told not in gc.callbacks
    before = gc.get_freeze_count()
    gc.collect()
    assert gc.get_freeze_count() <= before
