"""Real Celery workers, brokers, databases and trainings; the workers are killed. The two set-ups of the README.

A test here takes several seconds, because each training process imports torch.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend import runs
from backend.models import Run
from copg_core.config import CopgConfig, SFTConfig
from copg_core.recipe import Checkpoints, EvaluationPlan, Generation
from copg_core.sources import PresetModel, RunModel, TaskData
from tests.worker.stack import Stack
from worker import orphans

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DATA = TaskData(train_size=64, validation_size=16)
PLAN = EvaluationPlan(every=10, prompts=4, generation=Generation(max_new_tokens=8))


def sft(steps: int, checkpoints: int = 5) -> SFTConfig:
    return SFTConfig(
        policy=PresetModel(size="nano"), data=DATA, batch_size=8, steps=steps, evaluation=PLAN,
        checkpoints=Checkpoints(every=checkpoints),
    )  # fmt: skip


def copg(parent: Run, steps: int) -> CopgConfig:
    return CopgConfig(
        policy=RunModel(run=parent.uid), data=DATA, batch_size=8, steps=steps, evaluation=PLAN,
        checkpoints=Checkpoints(every=5),
    )  # fmt: skip


@pytest.fixture(params=["sqlite and the embedded broker", "postgresql and redis"])
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    if request.param.startswith("sqlite"):
        stack = Stack(tmp_path, request.getfixturevalue("sqlite_url"))
    else:
        stack = Stack(tmp_path, request.getfixturevalue("postgres_url"), request.getfixturevalue("redis_url"))
    yield stack
    stack.close()


def processes(run: Run) -> list[int]:
    return [pid for pid, mark in orphans._marked() if mark.get(orphans.RUN, "").startswith(run.uid)]


def test_a_run_whose_worker_is_killed_ends_with_the_losses_of_one_that_was_left_alone(stack: Stack) -> None:
    steps = 100  # far more than a slow machine trains between two looks at the run
    worker = stack.worker()
    base = stack.ended(stack.new(sft(10)))
    for config in (sft(steps), copg(base, steps)):
        alone = stack.ended(stack.new(config, "left alone"))
        killed = stack.new(config, "killed")
        stack.until(lambda killed=killed: (stack.now(killed).checkpoint_step or 0) >= 10)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        assert stack.now(killed).step < steps, "it had ended before it was killed"
        stack.until(lambda killed=killed: processes(killed) == [])
        worker = stack.worker()
        killed = stack.ended(killed)
        assert (killed.attempt, alone.attempt) == (2, 1)
        one, other = stack.recorded(alone), stack.recorded(killed)
        assert {step for _, step in one["points"]} >= set(range(1, steps + 1))
        assert one == other


def test_children_follow_their_parents_and_a_wake_up_that_was_lost_is_sent_again(stack: Stack) -> None:
    base = stack.new(sft(6))
    child = stack.new(copg(base, 6))
    assert stack.now(child).state == "waiting"
    stack.worker()
    child = stack.ended(child)
    assert stack.now(base).state == "succeeded"
    assert child.last_reward is not None


def test_a_worker_that_is_asked_to_leave_hands_its_run_over(stack: Stack) -> None:
    worker = stack.worker()
    run = stack.new(sft(100_000, checkpoints=100_000))
    stack.until(lambda: stack.now(run).step >= 3)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    given = stack.now(run)
    assert (given.state, given.attempt, given.owner) == ("queued", 0, None)
    assert given.checkpoint_step is not None
    assert processes(run) == []
    stack.worker()
    stack.until(lambda: stack.now(run).step > given.step)
    with stack.database.transaction() as session:
        runs.cancel(session, run)
    stack.until(lambda: stack.now(run).state == "cancelled")
    assert processes(run) == []


def test_a_frozen_worker_loses_its_run_and_cannot_write_any_more(stack: Stack) -> None:
    frozen = stack.worker()
    run = stack.new(sft(100_000))
    stack.until(lambda: stack.now(run).step >= 3)
    os.kill(frozen.pid, signal.SIGSTOP)
    try:
        stack.until(lambda: processes(run) == [])  # its guard saw that it froze
        stack.worker()
        stack.until(lambda: stack.now(run).fence == 2)
    finally:
        os.kill(frozen.pid, signal.SIGCONT)
    stack.until(lambda: "no longer owns it" in (stack.folder / "worker.log").read_text())
    stack.until(lambda: stack.now(run).step >= 6)
    with stack.database.transaction() as session:
        runs.cancel(session, run)
    stack.until(lambda: stack.now(run).state == "cancelled")


def test_runs_survive_a_broker_that_forgets_everything(tmp_path: Path, sqlite_url: str) -> None:
    stack = Stack(tmp_path, sqlite_url, republish_seconds=1)
    try:
        assert isinstance(stack.broker, subprocess.Popen)
        run = stack.new(sft(3))
        stack.broker.kill()
        stack.broker.wait()
        from backend import broker

        path = broker.socket_path(tmp_path)
        stack.broker = subprocess.Popen(broker.command(tmp_path, path), stdout=subprocess.DEVNULL)
        broker.wait(path, tmp_path / "none")
        stack.worker()
        stack.ended(run)
    finally:
        stack.close()
