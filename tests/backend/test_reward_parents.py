"""Reward models that a weighted sum names are parents of its run, each in its place."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from backend import lineage, runs
from backend.database import Database
from backend.errors import Invalid
from backend.models import Run
from backend.pipelines import create, plan
from backend.run_errors import ParentError
from backend.schemas.pipelines import PipelineCreate
from copg_core.config import CopgConfig, RewardModelConfig, RunConfig, SFTConfig
from copg_core.reward_sources import FunctionReward, GoldReward, RunReward, SumReward, WeightedReward


def new(database: Database, config: RunConfig) -> str:
    with database.transaction() as session:
        return runs.create(session, config).uid


def parents(database: Database, uid: str) -> set[str]:
    with database.transaction() as session:
        return {parent.uid for _, parent in lineage.parents_of(session, runs.get(session, uid).id)}


def test_each_term_waits_for_its_reward_model(database: Database) -> None:
    judges = [new(database, RewardModelConfig()) for _ in range(2)]
    terms = [WeightedReward(reward=RunReward(run=judge)) for judge in judges]
    run = new(database, CopgConfig(reward=SumReward(rewards=[WeightedReward(reward=GoldReward()), *terms])))
    assert parents(database, run) == set(judges)


def test_a_wrong_parent_is_named_where_it_stands(database: Database) -> None:
    sft = new(database, SFTConfig())
    with pytest.raises(ParentError, match="reward must be a reward model") as caught:
        new(database, CopgConfig(reward=SumReward(rewards=[WeightedReward(reward=RunReward(run=sft))])))
    assert caught.value.field == "reward.rewards.0.reward.run"


def test_options_that_a_function_does_not_take_are_named_where_they_stand(database: Database) -> None:
    aimless = FunctionReward(name="length")
    with pytest.raises(ParentError, match="missing a required argument: 'target'") as caught:
        new(database, CopgConfig(reward=aimless))
    assert caught.value.field == "reward.options"
    with pytest.raises(ParentError) as caught:
        new(database, CopgConfig(reward=SumReward(rewards=[WeightedReward(reward=aimless)])))
    assert caught.value.field == "reward.rewards.0.reward.options"
    new(database, CopgConfig(reward=FunctionReward(name="length", options={"target": 3})))
    # What another package registers is known only where it is installed: on the machine that trains.
    new(database, CopgConfig(reward=FunctionReward(name="of_somebody_else", options={"any": 1})))


def test_a_term_may_name_an_earlier_step_of_its_pipeline(database: Database) -> None:
    def request(alias: str) -> PipelineCreate:
        reward = {"kind": "sum", "rewards": [{"reward": {"kind": "gold"}}, {"reward": {"kind": "run", "run": alias}}]}
        steps = [
            {"alias": "rm", "config": {"algorithm": "reward_model"}},
            {"alias": "copg", "config": {"algorithm": "copg", "reward": reward}},
        ]
        return PipelineCreate.model_validate({"steps": steps})

    with pytest.raises(Invalid) as caught:
        plan(request("$judge"))
    assert [error.field for error in caught.value.errors] == ["steps.1.config.reward.rewards.1.reward.run"]
    with database.transaction() as session:
        pipeline = create(session, request("$rm"), plan(request("$rm")))
        steps = session.scalars(select(Run).where(Run.pipeline_id == pipeline.id))
        made = {run.algorithm: run.uid for run in steps}
    assert parents(database, made["copg"]) == {made["reward_model"]}
