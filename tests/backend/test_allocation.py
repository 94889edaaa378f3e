"""GPUs and slots are booked with the claim and freed with its end, on both engines, whoever races."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend import claims, dispatch, nodes, occupancy, queue_control, runs
from backend.backoff import Backoff
from backend.database import NOW, Database
from backend.models import Run, RunEvent
from backend.models_machines import Gpu
from backend.nodes import GpuReading
from backend.runs import Schedule
from backend.settings import Settings
from backend.states import RunState
from copg_core.config import SFTConfig

T = TypeVar("T")
LEASE = 60.0


def do(database: Database, work: Callable[[Session], T]) -> T:
    with database.transaction() as session:
        return work(session)


def worker(database: Database, name: str, gpus: int = 0, cpu_slots: int = 0, prefix: str = "", **options: Any) -> None:
    readings = [
        GpuReading(number, f"GPU-{prefix or name}-{number}", "H100", 80 * 2**30, 0, 0) for number in range(gpus)
    ]
    facts: dict[str, Any] = {"host": "h", "pid": 1, "queue": "default", "version": "0", "devices": []} | options
    do(database, lambda s: nodes.register(
        s, name, slots=gpus + cpu_slots, cpu_slots=cpu_slots, gpus=readings, **facts))  # fmt: skip


def new(database: Database, gpus: int | None = None, **options: Any) -> Run:
    return do(database, lambda s: runs.create(s, SFTConfig(), schedule=Schedule(gpus=gpus, **options)))


def claim(database: Database, run: Run, owner: str) -> claims.Claim | None:
    return do(database, lambda s: claims.claim(s, run.uid, owner, LEASE))


def finish(database: Database, won: claims.Claim, target: RunState = RunState.SUCCEEDED) -> None:
    do(database, lambda s: claims.finish(s, won.run_id, won.fence, target, "test"))


def booked(database: Database) -> dict[str, int]:
    return do(database, lambda s: dict(s.execute(select(Gpu.uuid, Gpu.run_id).where(Gpu.run_id.is_not(None))).all()))


def test_the_history_tells_how_many_devices_each_attempt_held(database: Database) -> None:
    worker(database, "a", gpus=4, cpu_slots=1)
    run = new(database, 3)
    first = claim(database, run, "a")
    assert first is not None
    finish(database, first, RunState.QUEUED)
    do(database, lambda s: s.execute(update(Run).where(Run.id == run.id).values(gpus=0)))
    second = claim(database, run, "a")
    assert second is not None
    do(database, lambda s: runs.cancel(s, runs.get(s, run.uid)))
    finish(database, second, RunState.CANCELLED)
    held = do(database, lambda s: occupancy.stretches_of(s, select(Run.id)))[run.id]
    assert [one.devices for one in held] == [3, 1, 1], "the second attempt went on while it was being cancelled"
    found = do(database, lambda s: occupancy.held_by(s, select(Run.id)))[run.id]
    assert found.device_seconds == pytest.approx(found.seconds + 2 * (held[0].end - held[0].begin))


def test_a_claim_books_whole_sets_and_every_end_frees_them(database: Database) -> None:
    worker(database, "a", gpus=4)
    first, second, third = new(database, 3), new(database, 2), new(database)
    won = claim(database, first, "a")
    assert won is not None
    assert won.gpus == ("GPU-a-0", "GPU-a-1", "GPU-a-2")
    assert claim(database, second, "a") is None
    assert do(database, lambda s: runs.get(s, second.uid)).state == "queued"
    one = claim(database, third, "a")
    assert one is not None
    assert one.gpus == ("GPU-a-3",)
    finish(database, one)
    assert len(booked(database)) == 3
    do(database, lambda s: s.execute(update(Run).where(Run.id == won.run_id).values(lease_until=NOW - 1)))
    assert do(database, claims.reap) == 1
    assert booked(database) == {}
    two = claim(database, second, "a")
    assert two is not None
    assert do(database, lambda s: claims.give_back(s, "a")) == 1
    assert booked(database) == {}


def test_slots_of_the_processor_are_counted_beside_the_gpus(database: Database) -> None:
    worker(database, "a", gpus=1, cpu_slots=1)
    cpu, more, gpu = new(database, 0), new(database, 0), new(database, 1)
    taken = claim(database, cpu, "a")
    assert taken is not None
    assert taken.gpus == ()
    assert claim(database, more, "a") is None
    assert claim(database, gpu, "a") is not None
    finish(database, taken)
    assert claim(database, more, "a") is not None


def test_two_workers_that_see_one_device_never_both_have_it(database: Database) -> None:
    worker(database, "a", gpus=1, prefix="shared")
    worker(database, "b", gpus=1, prefix="shared")
    first, second = new(database, 1), new(database, 1)
    won = claim(database, first, "a")
    assert won is not None
    assert claim(database, second, "b") is None
    finish(database, won)
    assert claim(database, second, "b") is not None


def test_nothing_is_ever_booked_twice_whoever_races(database: Database) -> None:
    for name in ("a", "b"):
        worker(database, name, gpus=4, cpu_slots=1)
    worker(database, "twin", gpus=4, prefix="a")  # sees the devices of the first one
    rng = random.Random(0)
    queue = [new(database, rng.choice([0, 1, 1, 2, 4])) for _ in range(48)]
    mine: dict[str, int] = {}
    lock, failures, done = threading.Lock(), [], []

    def work(number: int) -> None:
        own = random.Random(number)
        deadline = time.monotonic() + 60
        while len(done) < len(queue) and time.monotonic() < deadline:
            run = own.choice(queue)
            won = claim(database, run, own.choice(["a", "b", "twin"]))
            if won is None:
                continue
            with lock:
                failures.extend(uuid for uuid in won.gpus if uuid in mine)
                mine.update(dict.fromkeys(won.gpus, won.run_id))
            time.sleep(0.002)
            with lock:
                for uuid in won.gpus:
                    mine.pop(uuid, None)
            finish(database, won)
            done.append(run.id)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert failures == []
    assert sorted(done) == sorted(run.id for run in queue)
    assert booked(database) == {}


def test_a_heartbeat_refreshes_what_a_gpu_does_and_keeps_its_booking(database: Database) -> None:
    worker(database, "a", gpus=2)
    won = claim(database, new(database, 1), "a")
    assert won is not None
    hot = [GpuReading(0, "GPU-a-0", "H100", 80 * 2**30, 7 * 2**30, 93), GpuReading(1, "GPU-a-1", "H100")]
    facts: dict[str, Any] = {"host": "h", "pid": 1, "queue": "default", "version": "0", "devices": []}
    do(database, lambda s: nodes.register(s, "a", slots=2, cpu_slots=0, gpus=hot, **facts))
    first = do(database, lambda s: s.scalars(select(Gpu).where(Gpu.index == 0)).one())
    assert (first.memory_used, first.utilisation, first.run_id) == (7 * 2**30, 93, won.run_id)
    do(database, lambda s: nodes.register(s, "a", slots=1, cpu_slots=0, gpus=hot[1:], **facts))
    assert list(booked(database)) == ["GPU-a-0"]  # it fell off the bus; its run still has it
    finish(database, won)
    do(database, lambda s: nodes.register(s, "a", slots=1, cpu_slots=0, gpus=hot[1:], **facts))
    assert do(database, lambda s: list(s.scalars(select(Gpu.uuid)))) == ["GPU-a-1"]


def test_a_worker_of_an_older_version_leaves_a_newer_configuration_alone(database: Database) -> None:
    worker(database, "old", gpus=1)
    run = new(database)
    do(database, lambda s: s.execute(update(Run).values(config_schema=2)))
    assert claim(database, run, "old") is None
    worker(database, "new", gpus=1, config_schema=2)
    assert claim(database, run, "new") is not None


def test_a_configuration_that_cannot_be_read_fails_with_a_sentence(database: Database) -> None:
    run = new(database)
    do(database, lambda s: s.execute(update(Run).values(config={"algorithm": "sft", "from_the_future": 1})))
    assert claim(database, run, "w") is None
    after = do(database, lambda s: runs.get(s, run.uid))
    assert (after.state, after.error_kind) == ("failed", "config")
    assert "Update the worker" in (after.error or "")


@pytest.mark.parametrize("gpus", [None, 1])
def test_a_paused_queue_hands_out_nothing_also_to_a_message_on_its_way(database: Database, gpus: int | None) -> None:
    worker(database, "a", gpus=1)
    run = new(database, gpus)
    do(database, lambda s: queue_control.pause(s, "me"))
    since = do(database, queue_control.read).paused_at
    do(database, lambda s: queue_control.pause(s, "somebody else"))
    assert do(database, queue_control.read) == queue_control.Switch(since, "me")
    assert claim(database, run, "a") is None
    assert do(database, lambda s: dispatch.due_hints(s, Settings())) == []
    assert not do(database, queue_control.resume).paused
    assert [uid for uid, _ in do(database, lambda s: dispatch.due_hints(s, Settings()))] == [run.uid]
    assert claim(database, run, "a") is not None


def test_the_first_in_vain_gets_a_worker_kept_free(database: Database) -> None:
    worker(database, "a", gpus=2)
    small, large = new(database, 1), new(database, 2)
    settings = Settings(reserve_seconds=100)
    won = claim(database, small, "a")
    assert won is not None
    hints = lambda: [uid for uid, _ in do(database, lambda s: dispatch.due_hints(s, settings))]  # noqa: E731
    assert hints() == []
    do(database, lambda s: s.execute(update(Run).where(Run.id == large.id).values(head_since=NOW - 101)))
    late = new(database, 1)
    assert hints() == []
    assert do(database, lambda s: runs.get(s, large.uid)).reserved_node == "a"
    finish(database, won)
    assert hints() == [large.uid]
    big = claim(database, large, "a")
    assert big is not None
    after = do(database, lambda s: runs.get(s, large.uid))
    assert (after.head_since, after.reserved_node) == (None, None)
    finish(database, big)
    assert hints() == [late.uid]


def test_each_lost_attempt_waits_twice_as_long_and_the_history_says_how_long(database: Database) -> None:
    run = new(database, max_attempts=4)
    waits = []
    for _ in range(3):
        do(database, lambda s: s.execute(update(Run).values(not_before=0)))
        assert claim(database, run, "a") is not None
        do(database, lambda s: s.execute(update(Run).values(lease_until=NOW - 1)))
        assert do(database, lambda s: claims.reap(s, Backoff(40, 100))) == 1
        waits.append(do(database, lambda s: s.scalar(select(Run.not_before - NOW))))
    assert [round(wait, -1) for wait in waits] == [40, 80, 100]
    reasons = do(database, lambda s: list(s.scalars(select(RunEvent.reason).where(RunEvent.origin == "running"))))
    assert reasons[1] == "its worker has not been heard of; attempt 3 of 4 in 80 s"


def test_the_time_of_lost_attempts_counts_and_a_resume_grants_it_again(database: Database) -> None:
    run = new(database, max_seconds=10_000)
    won = claim(database, run, "a")
    assert won is not None
    assert won.seconds_left == 10_000
    do(database, lambda s: s.execute(update(Run).values(claimed_at=NOW - 7000)))
    do(database, lambda s: claims.give_back(s, "a"))
    do(database, lambda s: s.execute(update(Run).values(not_before=0)))
    won = claim(database, run, "a")
    assert won is not None
    assert won.seconds_left == pytest.approx(3000, abs=60)
    finish(database, won, RunState.FAILED)
    do(database, lambda s: runs.resume(s, runs.get(s, run.uid)))
    won = claim(database, run, "a")
    assert won is not None
    assert won.seconds_left == 10_000
