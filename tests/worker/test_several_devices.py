"""A run from the queue on two devices: torchrun's launcher under the guard, two real processes over gloo."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from backend import nodes, runs
from backend.models import Node, Run
from backend.models_machines import Gpu
from backend.runs import Schedule
from tests.worker.stack import ROOT, Stack
from tests.worker.test_end_to_end import processes, sft

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def stack(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    driver = Path(__file__).parent / "fake_driver"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(driver), str(ROOT)]))
    monkeypatch.setenv("FAKE_GPUS", "2")
    stack = Stack(tmp_path, sqlite_url)
    yield stack
    stack.close()


def new(stack: Stack, steps: int, gpus: int) -> Run:
    with stack.database.transaction() as session:
        run = runs.create(session, sft(steps), queue=stack.settings.queue, schedule=Schedule(gpus=gpus))
    stack.reconciler.wake()
    return run


def booked(stack: Stack) -> list[int]:
    with stack.database.snapshot() as session:
        return list(session.scalars(select(Gpu.index).where(Gpu.run_id.is_not(None)).order_by(Gpu.index)))


def test_two_processes_train_one_run_and_give_their_devices_back(stack: Stack) -> None:
    stack.worker()
    run, behind = new(stack, 60, gpus=2), new(stack, 6, gpus=1)
    stack.until(lambda: booked(stack) == [0, 1])
    stack.until(lambda: stack.now(run).step >= 1)
    children = [pid for pid in processes(run) if b"worker.child" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    seen = [Path(f"/proc/{pid}/environ").read_bytes() for pid in children]
    assert {variable for one in seen for variable in one.split(b"\0") if variable.startswith(b"RANK=")} == {
        b"RANK=0", b"RANK=1",
    }  # fmt: skip
    assert all(b"CUDA_VISIBLE_DEVICES=GPU-fake-0,GPU-fake-1" in one for one in seen)
    run = stack.ended(run)
    assert {step for _, step in stack.recorded(run)["points"]} == set(range(1, 61))
    assert stack.ended(behind).state == "succeeded"
    assert booked(stack) == []
    assert processes(run) == []


def test_a_run_on_two_devices_is_handed_over_with_a_checkpoint_when_its_worker_is_asked_to_leave(stack: Stack) -> None:
    worker = stack.worker()
    run = new(stack, 100_000, gpus=2)
    stack.until(lambda: stack.now(run).step >= 3)
    with stack.database.transaction() as session:
        assert nodes.request_drain(session, session.scalars(select(Node.name)).one())  # as the page does
    assert worker.wait(60) == 0
    given = stack.now(run)
    assert (given.state, given.attempt, given.checkpoint_step) == ("queued", 0, given.step)
    assert processes(run) == []
    assert booked(stack) == []


def test_a_process_that_is_killed_takes_the_others_along_and_the_run_starts_again(stack: Stack) -> None:
    stack.worker()
    run = new(stack, 100, gpus=2)
    stack.until(lambda: (stack.now(run).checkpoint_step or 0) >= 5)
    second = next(pid for pid in processes(run) if b"RANK=1\0" in Path(f"/proc/{pid}/environ").read_bytes())
    os.kill(second, signal.SIGKILL)
    run = stack.ended(run)
    assert (run.attempt, run.step) == (2, 100)
