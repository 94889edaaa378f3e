"""The life of a run as people and workers move it, on both engines."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from backend import claims, dispatch, lineage, nodes, runs
from backend.database import NOW, Database
from backend.models import Checkpoint, Evaluation, MetricPoint, Run, RunEvent, Sample
from backend.moves import move
from backend.run_errors import LeaseLost, ParentError, RunNotFound, StateConflict
from backend.settings import Settings
from backend.states import ALLOWED, RunState
from copg_core import events
from copg_core.config import CopgConfig, RewardModelConfig, SFTConfig
from copg_core.reward_sources import RunReward
from copg_core.sources import RunModel

LEASE = 60.0
SFT = SFTConfig()
T = TypeVar("T")


def do(database: Database, work: Callable[[Session], T]) -> T:
    with database.transaction() as session:
        return work(session)


def new(database: Database, config: Any = SFT, **options: Any) -> Run:
    return do(database, lambda s: runs.create(s, config, **options))


def now(database: Database, run: Run) -> Run:
    return do(database, lambda s: runs.get(s, run.uid))


def take(database: Database, run: Run, owner: str = "worker") -> claims.Claim:
    claim = do(database, lambda s: claims.claim(s, run.uid, owner, LEASE))
    assert claim is not None
    return claim


def ship(database: Database, claim: claims.Claim, *batch: events.Event) -> bool:
    return do(database, lambda s: claims.renew(s, claim.run_id, claim.fence, LEASE, batch))


def end(database: Database, claim: claims.Claim, target: RunState, **options: Any) -> RunState:
    return do(database, lambda s: claims.finish(s, claim.run_id, claim.fence, target, "test", **options))


def expire(database: Database, run: Run) -> None:
    do(database, lambda s: s.execute(update(Run).where(Run.id == run.id).values(lease_until=NOW - 1)))


def due_now(database: Database, run: Run) -> None:
    do(database, lambda s: s.execute(update(Run).where(Run.id == run.id).values(not_before=0)))


def history(database: Database, run: Run) -> list[str]:
    query = select(RunEvent.target).where(RunEvent.run_id == run.id).order_by(RunEvent.id)
    return do(database, lambda s: list(s.scalars(query)))


def sample(index: int, reward: float) -> events.Sample:
    return events.Sample(prompt_index=index, prompt="p", completion="c", reward=reward, length=1, finished=True)


def evaluation(step: int, reward: float) -> events.Evaluation:
    samples = (sample(0, reward), sample(1, reward))
    return events.Evaluation(step=step, n=2, reward_mean=reward, samples=samples, values={"accuracy": 0.5})


def curve_steps(database: Database, run: Run) -> list[int]:
    query = select(MetricPoint.step).where(MetricPoint.run_id == run.id).order_by(MetricPoint.step)
    return do(database, lambda s: list(s.scalars(query)))


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
        assert do(database, claims.reap) == 1
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


def pipeline(database: Database) -> tuple[Run, Run, Run]:
    sft = new(database, name="base")
    rm = new(database, RewardModelConfig(policy=RunModel(run=sft.uid)), name="judge")
    copg = new(database, CopgConfig(policy=RunModel(run=sft.uid), reward=RunReward(run=rm.uid)), name="copg")
    return sft, rm, copg


def test_children_wait_for_all_their_parents_and_get_their_outputs(database: Database) -> None:
    sft, rm, copg = pipeline(database)
    assert [now(database, run).state for run in (sft, rm, copg)] == ["queued", "waiting", "waiting"]
    for run, output in ((sft, "/sft"), (rm, "/rm")):
        claim = take(database, run)
        ship(database, claim, events.Finished(step=1, output=output))
        end(database, claim, RunState.SUCCEEDED)
    assert take(database, copg).parents == {sft.uid: "/sft", rm.uid: "/rm"}


def test_a_failing_parent_cancels_all_that_wait_for_it_saying_why_and_its_resumption_revives_them(
    database: Database,
) -> None:
    sft, rm, copg = pipeline(database)
    by_hand = new(database, RewardModelConfig(policy=RunModel(run=sft.uid)))
    do(database, lambda s: runs.cancel(s, by_hand))
    end(database, take(database, sft), RunState.FAILED, error="no disk", error_kind="storage")
    rm_after, copg_after = now(database, rm), now(database, copg)
    assert (rm_after.state, rm_after.error_kind, rm_after.error) == (
        "cancelled", "parent", "Its parent run 'base' failed.",
    )  # fmt: skip
    assert copg_after.state == "cancelled"
    with pytest.raises(StateConflict, match="take that up first"):
        do(database, lambda s: runs.resume(s, copg))
    do(database, lambda s: runs.resume(s, sft))
    assert [now(database, run).state for run in (sft, rm, copg)] == ["queued", "waiting", "waiting"]
    assert now(database, by_hand).state == "cancelled"


def test_the_loop_settles_children_that_were_made_while_their_parent_ended(database: Database) -> None:
    sft, rm, copg = pipeline(database)
    do(database, lambda s: s.execute(update(Run).where(Run.id == sft.id).values(state="succeeded")))
    assert do(database, lineage.release_waiting) == 1
    assert [now(database, run).state for run in (rm, copg)] == ["queued", "waiting"]
    do(database, lambda s: s.execute(update(Run).where(Run.id == rm.id).values(state="cancelled")))
    assert do(database, lineage.release_waiting) == 1
    assert now(database, copg).error == "Its parent run 'judge' was cancelled."
    assert do(database, lineage.release_waiting) == 0


def test_a_parent_must_exist_be_of_the_right_kind_and_have_a_chance(database: Database) -> None:
    sft = new(database, name="base")
    with pytest.raises(ParentError, match="no run has the id 'nobody'"):
        new(database, RewardModelConfig(policy=RunModel(run="nobody")))
    with pytest.raises(ParentError, match="reward must be a reward model") as caught:
        new(database, CopgConfig(policy=RunModel(run=sft.uid), reward=RunReward(run=sft.uid)))
    assert caught.value.role == "reward"
    do(database, lambda s: runs.cancel(s, sft))
    with pytest.raises(ParentError, match="is cancelled"):
        new(database, RewardModelConfig(policy=RunModel(run=sft.uid)))
    assert new(database, RewardModelConfig(policy=RunModel(run="/folder/of/a/run"))).state == "queued"


def test_delete_spares_what_a_worker_has_or_others_build_on(database: Database) -> None:
    sft, rm, copg = pipeline(database)
    with pytest.raises(StateConflict, match="'copg', 'judge' builds on it"):
        do(database, lambda s: runs.delete(s, sft))
    for run in (copg, rm):
        do(database, lambda s, run=run: runs.delete(s, run))
    claim = take(database, sft)
    ship(database, claim, events.Metrics(step=1, values={"loss": 1.0}), evaluation(1, 0.5))
    with pytest.raises(StateConflict, match="cancel it"):
        do(database, lambda s: runs.delete(s, sft))
    end(database, claim, RunState.SUCCEEDED)
    do(database, lambda s: runs.delete(s, sft))
    with pytest.raises(RunNotFound):
        now(database, sft)
    with database.snapshot() as session:
        for table in (MetricPoint, Evaluation, Sample, RunEvent):
            assert session.scalar(select(func.count()).select_from(table)) == 0


def test_one_wake_up_for_each_free_slot_the_most_urgent_first(database: Database) -> None:
    settings = Settings(lease_seconds=LEASE, republish_seconds=30)

    def hints() -> list[str]:
        return [uid for uid, _ in do(database, lambda s: dispatch.due_hints(s, settings))]

    low, high, busy = new(database), new(database, priority=5), new(database, priority=9)
    assert hints() == []  # no worker, no message
    facts: dict[str, Any] = {"host": "h", "pid": 1, "queue": "default", "version": "0", "devices": []}
    do(database, lambda s: nodes.register(s, "w", slots=2, **facts))
    do(database, lambda s: nodes.register(s, "w", slots=2, **facts))
    take(database, busy, "w")
    assert hints() == [high.uid]
    assert hints() == []  # under way
    do(database, lambda s: s.execute(update(Run).where(Run.id == high.id).values(published_at=NOW - 31)))
    assert hints() == [high.uid]  # lost: sent again
    take(database, high, "w")
    do(database, lambda s: nodes.register(s, "w", slots=3, **facts))
    assert hints() == [low.uid]
    do(database, lambda s: nodes.forget(s, "w"))
    assert do(database, lambda s: nodes.silent_seconds(s, "w")) is None
