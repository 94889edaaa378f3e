"""Parents and children: who waits for whom, who goes down with whom, and when a run may be deleted."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select, update

from backend import lineage, runs
from backend.database import Database
from backend.models import Evaluation, MetricPoint, Run, RunEvent, Sample
from backend.run_errors import ParentError, RunNotFound, StateConflict
from backend.states import RunState
from copg_core import events
from copg_core.config import CopgConfig, RewardModelConfig
from copg_core.reward_sources import RunReward
from copg_core.sources import RunModel
from tests.backend.run_bench import (
    do,
    end,
    evaluation,
    new,
    now,
    ship,
    take,
)


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
