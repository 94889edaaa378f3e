"""The checks of the torture can fail, and its plan is a function of the seed."""

from __future__ import annotations

import pytest

from backend.models import RunEvent
from copg_core.events import Evaluation, Metrics
from tests.torture import recipes
from tests.torture.checks import expected_states, history_problems
from tests.torture.person import Planned, plan
from tests.torture.recorded import differences, of_events


def history(*moves: tuple[str | None, str, int]) -> list[RunEvent]:
    return [RunEvent(origin=origin, target=target, fence=fence) for origin, target, fence in moves]


LAUNCHED: tuple[str | None, str, int] = (None, "queued", 0)
WON = ("queued", "running", 1)
DONE = ("running", "succeeded", 1)


@pytest.mark.parametrize(
    "good",
    [
        history(LAUNCHED, WON, DONE),
        history(LAUNCHED, WON, ("running", "queued", 1), ("queued", "running", 2), ("running", "failed", 2)),
        history((None, "waiting", 0), ("waiting", "queued", 0), ("queued", "cancelled", 0), ("cancelled", "queued", 0),
                WON, DONE),  # resumed: one end for each of its two lives
    ],
)  # fmt: skip
def test_a_chain_of_allowed_moves_is_in_order(good: list[RunEvent]) -> None:
    assert history_problems("run", good[-1].target, good) == []


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (history(LAUNCHED, WON, DONE, DONE), "terminal events"),
        (history(LAUNCHED, WON, DONE, ("succeeded", "queued", 1), ("queued", "running", 2), DONE), "which no run may"),
        (history(LAUNCHED, ("running", "succeeded", 1)), "next event begins at"),
        (history(LAUNCHED, ("queued", "running", 0), ("running", "succeeded", 0)), "was claimed as attempt"),
        (history(LAUNCHED, WON), "last event says"),
        (history(WON, DONE), "does not begin"),
        ([], "does not begin"),
    ],
)
def test_a_broken_history_is_told(broken: list[RunEvent], words: str) -> None:
    assert words in " ".join(history_problems("run", "succeeded", broken))


def test_a_number_that_differs_in_its_last_bit_is_told() -> None:
    one = of_events([Metrics(step=1, values={"loss": 0.1}), Evaluation(step=0, n=4, reward_mean=0.5)])
    other = of_events([Metrics(step=1, values={"loss": 0.1 + 2**-56}), Evaluation(step=0, n=4, reward_mean=0.5)])
    assert differences(one, one) == []
    assert differences(one, other) == ["1 points unequal, for example loss at 1"]
    assert differences(one, of_events([])) == [
        "1 points missing, for example loss at 1",
        "1 evaluations missing, for example 0",
    ]
    assert differences(of_events([]), one)[1] == "1 evaluations too many, for example 0"


def test_the_plan_is_a_function_of_the_seed_and_has_everything_in_it() -> None:
    planned = plan(100, seed=1, pace=1)
    assert planned == plan(100, seed=1, pace=1) != plan(100, seed=2, pace=1)
    assert {one.recipe for one in planned} == {*recipes.ROOTS, *recipes.CHILDREN, recipes.POISONED}
    by_key = {one.key: one for one in planned}
    for one in planned:
        if one.parent is not None:
            parent = by_key[one.parent]
            assert parent.recipe == recipes.CHILDREN[one.recipe]
            assert parent.cancel_after is None or parent.resume
    assert sum(one.twice for one in planned) > 20
    assert sum(one.cancel_after is not None for one in planned) > 10


def test_what_a_run_may_end_as() -> None:
    states = {"father": "cancelled", "other": "succeeded"}
    assert expected_states(Planned("run", "copg"), states) == {"succeeded"}
    assert expected_states(Planned("run", "copg", cancelled=True), states) == {"cancelled", "succeeded"}
    assert expected_states(Planned("run", "copg of sft 0", parent="father"), states) == {"cancelled"}
    assert expected_states(Planned("run", "copg of sft 0", parent="other"), states) == {"succeeded"}
    assert expected_states(Planned("run", recipes.POISONED), states) == {"failed"}
