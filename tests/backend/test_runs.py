"""The life of a run as people and workers move it, on both engines."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend import claims, runs
from backend.backoff import Backoff
from backend.database import Database
from backend.models import Checkpoint, Evaluation, MetricPoint, Run, Sample
from backend.moves import move
from backend.run_errors import LeaseLost, StateConflict
from backend.states import ALLOWED, RunState
from copg_core import events
from tests.backend.run_bench import (
    LEASE,
    SFT,
    curve_steps,
    do,
    due_now,
    end,
    evaluation,
    expire,
    history,
    new,
    now,
    ship,
    take,
)


def test_a_run_goes_from_queue_to_success_and_leaves_its_history(database: Database) -> None:
    run = new(database, name="first", notes="n", priority=3)
    assert (run.state, run.algorithm, run.priority, run.rev) == ("queued", "sft", 3, 0)
    claim = take(database, run)
    assert (claim.fence, claim.attempt, claim.checkpoint_step, claim.previous_fence) == (1, 1, None, None)
    assert claim.config == SFT
    ship(database, claim, events.Stage(name="loading"), events.Started(step=0, total_steps=20))
    ship(database, claim, events.Metrics(step=1, values={"loss": 2.0, "gradient_norm": None}), evaluation(1, 0.5))
    ship(database, claim, events.Report(section="data", values={"rows": 3}), events.Finished(step=20, output="/out"))
    assert end(database, claim, RunState.SUCCEEDED) == RunState.SUCCEEDED
    run = now(database, run)
    assert (run.state, run.step, run.total_steps, run.last_reward, run.output_path) == (
        "succeeded",
        20,
        20,
        0.5,
        "/out",
    )
    assert run.report == {"data": {"rows": 3}}
    assert run.owner is None
    assert run.started_at is not None
    assert run.finished_at is not None
    assert run.finished_at >= run.started_at >= run.created_at
    assert history(database, run) == ["queued", "running", "succeeded"]


def test_every_change_a_viewer_could_see_bumps_the_revision_and_a_heartbeat_does_not(database: Database) -> None:
    run = new(database)
    claim = take(database, run)
    before = now(database, run)
    ship(database, claim)
    beat = now(database, run)
    assert beat.rev == before.rev
    assert beat.lease_until > before.lease_until
    ship(database, claim, events.Metrics(step=1, values={"loss": 1.0}))
    point = now(database, run)
    assert point.rev == before.rev + 1
    assert point.changed_at > before.changed_at


def test_the_remaining_time_counts_from_where_this_attempt_started(database: Database) -> None:
    run = new(database)
    claim = take(database, run)
    ship(database, claim, events.Started(step=7, total_steps=70))
    run = now(database, run)
    assert run.training_started_step == 7
    assert run.training_started_at is not None


def test_a_move_that_the_table_does_not_know_is_refused_as_a_bug(database: Database) -> None:
    def illegal(session: Session) -> None:
        move(session, [], RunState.SUCCEEDED, RunState.QUEUED)

    with pytest.raises(ValueError, match="never goes"):
        do(database, illegal)


def test_every_terminal_state_but_success_can_be_left_again() -> None:
    assert ALLOWED[RunState.SUCCEEDED] == frozenset()


def test_of_racing_claims_exactly_one_wins(database: Database) -> None:
    for _ in range(10):
        run = new(database)
        barrier = threading.Barrier(6)
        won: list[claims.Claim] = []

        def race(uid: str = run.uid, barrier: threading.Barrier = barrier, won: list[claims.Claim] = won) -> None:
            barrier.wait()
            claim = do(database, lambda s: claims.claim(s, uid, threading.current_thread().name, LEASE))
            if claim is not None:
                won.append(claim)

        threads = [threading.Thread(target=race) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert now(database, run).attempt == 1


def test_a_zombie_can_neither_beat_nor_ship_nor_finish(database: Database) -> None:
    run = new(database)
    zombie = take(database, run, "frozen")
    expire(database, run)
    assert do(database, claims.reap) == 1
    with pytest.raises(LeaseLost):  # nobody has it yet
        ship(database, zombie, events.Metrics(step=9, values={"loss": 9.0}))
    due_now(database, run)
    successor = take(database, run, "fresh")
    assert (successor.fence, successor.attempt) == (2, 2)
    saved = events.CheckpointSaved(step=9, path="/zombie", bytes=1)
    with pytest.raises(LeaseLost):
        ship(database, zombie, saved)
    with pytest.raises(LeaseLost):
        end(database, zombie, RunState.FAILED)
    with pytest.raises(LeaseLost):
        do(database, lambda s: claims.is_cancelling(s, zombie.run_id, zombie.fence))
    after = now(database, run)
    assert (after.state, after.owner, after.checkpoint_path) == ("running", "fresh", None)
    assert curve_steps(database, run) == []


def test_a_claim_cuts_the_curve_back_to_the_checkpoint(database: Database) -> None:
    run = new(database)
    claim = take(database, run)
    for step in range(1, 8):
        ship(database, claim, events.Metrics(step=step, values={"loss": float(step)}))
    ship(database, claim, evaluation(5, 0.5), events.CheckpointSaved(step=5, path="/c5", bytes=10), evaluation(7, 0.7))
    end(database, claim, RunState.QUEUED)
    again = take(database, run)
    assert (again.checkpoint_step, again.checkpoint_path, again.previous_fence) == (5, "/c5", 1)
    assert curve_steps(database, run) == [1, 2, 3, 4, 5]
    with database.snapshot() as session:
        assert list(session.scalars(select(Evaluation.step))) == [5]
        assert set(session.scalars(select(Sample.step))) == {5}
    run = now(database, run)
    assert (run.step, run.last_reward) == (5, 0.5)


def test_shipping_a_batch_twice_leaves_every_row_once(database: Database) -> None:
    run = new(database)
    claim = take(database, run)
    batch = [
        events.Metrics(step=1, values={"loss": 1.0}),
        evaluation(1, 0.25),
        events.CheckpointSaved(step=1, path="/c1", bytes=10),
    ]
    ship(database, claim, *batch)
    ship(database, claim, *batch)
    with database.snapshot() as session:
        for table, count in ((MetricPoint, 1), (Evaluation, 1), (Sample, 2), (Checkpoint, 1)):
            assert session.scalar(select(func.count()).select_from(table)) == count
    ship(database, claim, events.CheckpointRemoved(step=1, path="/c1"))
    with database.snapshot() as session:
        assert session.scalar(select(func.count()).select_from(Checkpoint)) == 0


def test_cancelling_a_queued_run_ends_it_and_a_running_one_is_stopped_by_its_worker(database: Database) -> None:
    queued = new(database)
    assert do(database, lambda s: runs.cancel(s, queued)).state == "cancelled"
    assert do(database, lambda s: claims.claim(s, queued.uid, "w", LEASE)) is None
    run = new(database)
    claim = take(database, run)
    assert not do(database, lambda s: claims.is_cancelling(s, claim.run_id, claim.fence))
    assert do(database, lambda s: runs.cancel(s, run)).state == "cancelling"
    assert do(database, lambda s: runs.cancel(s, run)).state == "cancelling"
    assert do(database, lambda s: claims.is_cancelling(s, claim.run_id, claim.fence))
    assert ship(database, claim, events.Metrics(step=1, values={"loss": 1.0}))  # what it still says is kept
    assert end(database, claim, RunState.QUEUED) == RunState.CANCELLED
    with pytest.raises(StateConflict, match="already been cancelled"):
        do(database, lambda s: runs.cancel(s, run))


def test_a_run_that_finishes_while_it_is_cancelled_keeps_what_it_reached(database: Database) -> None:
    run = new(database)
    claim = take(database, run)
    do(database, lambda s: runs.cancel(s, run))
    assert end(database, claim, RunState.SUCCEEDED) == RunState.SUCCEEDED


def test_the_reaper_requeues_until_the_attempts_are_used_and_backs_off(database: Database) -> None:
    run = new(database)
    for attempt in (1, 2, 3):
        claim = take(database, run)
        assert claim.attempt == attempt
        assert do(database, claims.reap) == 0  # the lease is fresh
        expire(database, run)
        assert do(database, lambda s: claims.reap(s, Backoff(600))) == 1
        assert do(database, lambda s: claims.claim(s, run.uid, "w", LEASE)) is None  # backs off, or has ended
        due_now(database, run)
    after = now(database, run)
    assert (after.state, after.error_kind) == ("failed", "worker")
    assert "lost its worker" in (after.error or "")


def test_the_reaper_cancels_what_was_being_cancelled(database: Database) -> None:
    run = new(database)
    take(database, run)
    do(database, lambda s: runs.cancel(s, run))
    expire(database, run)
    do(database, claims.reap)
    assert now(database, run).state == "cancelled"


def test_the_runs_of_a_worker_known_to_be_dead_come_back_at_once(database: Database) -> None:
    mine, other = new(database), new(database)
    take(database, mine, "host/a_b/1")
    take(database, other, "host/axb/1")  # `_` is no wildcard
    assert do(database, lambda s: claims.give_back(s, "host/a_b/")) == 1
    assert (now(database, mine).state, now(database, other).state) == ("queued", "running")


def test_a_polite_shutdown_is_no_attempt(database: Database) -> None:
    run = new(database)
    end(database, take(database, run), RunState.QUEUED, count_attempt=False)
    assert now(database, run).attempt == 0


def test_resume_keeps_the_checkpoint_and_retry_drops_everything(database: Database) -> None:
    run = new(database)
    claim = take(database, run)
    ship(
        database,
        claim,
        events.Metrics(step=4, values={"loss": 1.0}),
        events.CheckpointSaved(step=4, path="/c", bytes=1),
    )
    end(database, claim, RunState.FAILED, error="the reward is NaN", error_kind="reward")
    failed = now(database, run)
    assert (failed.state, failed.error, failed.error_kind) == ("failed", "the reward is NaN", "reward")
    resumed = do(database, lambda s: runs.resume(s, run))
    assert (resumed.state, resumed.error, resumed.attempt, resumed.checkpoint_step) == ("queued", None, 0, 4)
    claim = take(database, run)
    assert (claim.checkpoint_path, claim.previous_fence) == ("/c", None)
    end(database, claim, RunState.FAILED)
    fence = now(database, run).fence
    tried = do(database, lambda s: runs.retry(s, run))
    assert (tried.state, tried.checkpoint_path, tried.step, tried.fence) == ("queued", None, 0, fence + 1)
    assert curve_steps(database, run) == []
    assert take(database, run).checkpoint_path is None


def test_a_diverged_run_keeps_the_checkpoint_from_before_and_is_not_resumed(database: Database) -> None:
    run = new(database)
    claim = take(database, run)
    for step in (2, 4, 6):
        ship(database, claim, events.CheckpointSaved(step=step, path=f"/c{step}", bytes=1))
    ship(database, claim, events.CheckpointRemoved(step=2, path="/c2"))
    assert now(database, run).checkpoint_path == "/c6", "pruning an old one changes nothing"
    ship(database, claim, events.CheckpointRemoved(step=6, path="/c6"))
    end(database, claim, RunState.FAILED, error="the reward has collapsed", error_kind="diverged")
    assert (now(database, run).checkpoint_step, now(database, run).checkpoint_path) == (4, "/c4")
    with pytest.raises(StateConflict, match=r"would go through the same steps and diverge again\. Clone it"):
        do(database, lambda s: runs.resume(s, run))
    assert do(database, lambda s: runs.retry(s, run)).state == "queued"


@pytest.mark.parametrize("again", [runs.resume, runs.retry])
def test_only_an_ended_run_can_be_taken_up_again(database: Database, again: Callable[[Session, Run], Run]) -> None:
    run = new(database)
    with pytest.raises(StateConflict, match="is queued"):
        do(database, lambda s: again(s, run))
    end(database, take(database, run), RunState.SUCCEEDED)
    with pytest.raises(StateConflict, match="is succeeded"):
        do(database, lambda s: again(s, run))
