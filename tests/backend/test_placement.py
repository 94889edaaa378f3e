"""Which run goes where, and the sentence for those that wait. No database."""

from __future__ import annotations

from typing import Any

import pytest

from backend.placement import Place, Plan, Wish, plan


def gpu_node(name: str, total: int, free: int | None = None, **options: Any) -> Place:
    left = total if free is None else free
    return Place(name, "default", total, left, total, left, **options)


def cpu_node(name: str, slots: int, free: int | None = None, **options: Any) -> Place:
    return Place(name, "default", cpu_slots=slots, free_cpu_slots=slots if free is None else free, **options)


def line(*gpus: int | None, **options: Any) -> list[Wish]:
    return [Wish(number, f"r{number}", "default", count, **options) for number, count in enumerate(gpus)]


def decide(wishes: list[Wish], *places: Place, paused: bool = False) -> Plan:
    return plan(wishes, places, paused=paused, reserve_seconds=600)


def went(made: Plan) -> list[str | None]:
    return [decision.place for decision in made.decisions]


def why(made: Plan) -> list[str]:
    return [decision.reason for decision in made.decisions]


def test_the_line_is_filled_from_its_head_until_nothing_is_free() -> None:
    made = decide(line(None, 1, None), gpu_node("a", 2))
    assert went(made) == ["a", "a", None]
    assert why(made)[2] == "waits for a free GPU"
    assert made.heads == {"default": 2}


def test_a_run_that_leaves_it_open_takes_a_gpu_before_a_processor() -> None:
    assert went(decide(line(None, None, 0), gpu_node("g", 1), cpu_node("c", 2))) == ["g", "c", "c"]


def test_gpu_runs_never_take_a_processor_slot_and_the_others_never_a_gpu() -> None:
    node = gpu_node("g", 1, cpu_slots=1, free_cpu_slots=1)
    assert went(decide(line(1, 1, 0, 0), node)) == ["g", None, "g", None]
    bare = decide(line(0), gpu_node("g", 4))
    assert "COPG_CPU_SLOTS" in why(bare)[0]


def test_several_gpus_are_taken_on_one_worker_and_the_fullest_that_fits_is_chosen() -> None:
    assert went(decide(line(2), gpu_node("a", 4), gpu_node("b", 4, 2))) == ["b"]
    spread = decide(line(4), gpu_node("a", 4, 3), gpu_node("b", 4, 2))
    assert why(spread) == ["waits for 4 GPUs on one worker; at most 3 are free"]


@pytest.mark.parametrize(
    ("wish", "place", "reason"),
    [
        (4, gpu_node("a", 2), "waits for 4 GPUs; the largest worker has 2"),
        (1, cpu_node("a", 2), "waits for 1 GPU; the largest worker has none"),
        (None, cpu_node("a", 1, 0), "waits for a free slot"),
        (None, cpu_node("a", 1, draining=True), "no worker serves the queue 'default'"),
    ],
)
def test_what_a_run_waits_for_is_said(wish: int | None, place: Place, reason: str) -> None:
    assert why(decide(line(wish), place)) == [reason]


def test_a_run_that_fits_nowhere_stops_nobody_and_heads_no_line() -> None:
    made = decide(line(8, 1), gpu_node("a", 2))
    assert went(made) == [None, "a"]
    assert made.heads == {}


def test_slices_of_a_gpu_serve_single_runs_only() -> None:
    sliced = Place("m", "default", gpus=4, free_gpus=4)
    assert went(decide(line(2, 1), sliced)) == [None, "m"]


def test_small_runs_pass_a_large_one_until_a_worker_is_kept_free_for_it() -> None:
    def made(headed: float) -> Plan:
        large = Wish(9, "large", "default", 4, headed=headed)
        return decide([large, *line(1)], gpu_node("a", 4, 3))

    assert went(made(599)) == [None, "a"]
    kept = made(600)
    assert went(kept) == [None, None]
    assert kept.reservations == {9: "a"}
    assert why(kept) == [
        "worker a is kept free for it: 3 of 4 GPUs are free",
        "worker a is kept free for run 'large'",
    ]


def test_a_reservation_stays_where_it_is_and_binds_only_those_behind_it() -> None:
    large = Wish(9, "large", "default", 4, headed=700, reserved="a")
    urgent, late = line(1)[0], Wish(5, "late", "default", 1)
    made = decide([urgent, large, late], gpu_node("a", 4, 1), gpu_node("b", 4, 3))
    assert went(made) == ["a", None, "b"]
    assert made.reservations == {9: "a"}


def test_other_workers_go_on_while_one_is_kept_free() -> None:
    large = Wish(9, "large", "default", 4, headed=700)
    assert went(decide([large, *line(1)], gpu_node("a", 4, 3), gpu_node("b", 4, 1))) == [None, "b"]


def test_what_is_on_the_way_is_counted() -> None:
    flying = Wish(9, "flying", "default", 1, offered_to="a")
    made = decide([*line(1), flying], gpu_node("a", 1))
    assert went(made) == [None, None]
    assert why(made)[1] == "is being handed to worker a"


def test_a_paused_queue_hands_out_nothing_and_says_so() -> None:
    assert why(decide(line(None), gpu_node("a", 1), paused=True)) == ["the queue is paused"]


def test_a_newer_configuration_waits_for_a_newer_worker() -> None:
    wishes = line(None, config_schema=2)
    assert "update the workers" in why(decide(wishes, gpu_node("old", 1)))[0]
    assert went(decide(wishes, gpu_node("old", 1), gpu_node("new", 1, config_schema=2))) == ["new"]


def test_queues_are_lines_of_their_own() -> None:
    other = Wish(7, "other", "lab", 1)
    made = decide([other, *line(1)], gpu_node("a", 1))
    assert went(made) == [None, "a"]
    assert why(made)[0] == "no worker serves the queue 'lab'"
