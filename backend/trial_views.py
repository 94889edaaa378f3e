"""Trials as the JSON of the API."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.models import TRIAL, Evaluation, Run, Sample
from backend.schemas.trials import TrialAnswer, TrialCompletion, TrialOut, TrialSummary
from backend.states import RunState
from backend.trials import SCORING
from backend.views import moment
from copg_core.reward_sources import EntailmentReward, FunctionReward, RewardSource, RunReward, parts
from copg_core.trial_config import TrialConfig

_SHOWN = 200  # characters of a prompt in a list


def summary(row: Run) -> TrialSummary:
    """One line of the list. What is shown of the configuration is read without being checked: it may be of another version."""
    return TrialSummary(
        id=row.uid, state=RunState(row.state), prompt=str(row.config.get("prompt", ""))[:_SHOWN],
        runs=len(row.config.get("policies", ())), created_at=moment(row.created_at),
    )  # fmt: skip


def detail(session: Session, row: Run) -> TrialOut:
    """A trial with what was written so far."""
    config = TrialConfig.model_validate(row.config)
    said = row.report.get(SCORING, {})
    return TrialOut(
        id=row.uid,
        state=RunState(row.state),
        stage=row.stage,
        error=row.error,
        prompt=config.prompt,
        completions=config.completions,
        max_new_tokens=config.generation.max_new_tokens,
        temperature=config.generation.temperature,
        seed=config.seed,
        reward=_words(session, config.reward),
        scored_by=said.get("scored_by"),
        unscored=said.get("unscored"),
        has_gold=config.data.kind == "task",
        answers=_answers(session, row, config),
        created_at=moment(row.created_at),
        started_at=moment(row.started_at),
        finished_at=moment(row.finished_at),
    )


def _answers(session: Session, row: Run, config: TrialConfig) -> list[TrialAnswer]:
    uids = [policy.run for policy in config.policies]
    named = {
        one.uid: one
        for one in session.execute(
            select(Run.uid, Run.name, Run.algorithm).where(Run.uid.in_(uids), Run.algorithm != TRIAL)
        )
    }
    told = {one.step: one for one in session.scalars(select(Evaluation).where(Evaluation.run_id == row.id))}
    written: dict[int, list[TrialCompletion]] = defaultdict(list)
    order = (Sample.step, Sample.prompt_index)
    for sample in session.scalars(select(Sample).where(Sample.run_id == row.id).order_by(*order)):
        written[sample.step].append(
            TrialCompletion(
                text=sample.completion, reward=sample.reward, gold=sample.gold, length=sample.length,
                finished=sample.finished,
            )
        )  # fmt: skip
    answers = []
    for place, uid in enumerate(uids):
        run, evaluation, read = named.get(uid), told.get(place), row.report.get(f"policy.{place}", {})
        answers.append(
            TrialAnswer(
                run=uid,
                name=run.name if run else None,
                algorithm=run.algorithm if run else None,
                prompt_tokens=read.get("prompt_tokens"),
                prompt_tokens_dropped=read.get("prompt_tokens_dropped"),
                unknown_tokens=read.get("unknown_tokens"),
                reward_mean=evaluation.reward_mean if evaluation else None,
                reward_stderr=evaluation.reward_stderr if evaluation else None,
                gold_mean=evaluation.gold_mean if evaluation else None,
                gold_stderr=evaluation.values.get("gold_stderr") if evaluation else None,
                completions=written[place],
            )
        )
    return answers


def _words(session: Session, reward: RewardSource | None) -> str | None:
    if reward is None:
        return None
    terms = list(parts(reward))
    said = " + ".join(_single(session, part) for _, part in terms)
    return f"weighted sum: {said}" if len(terms) > 1 else said


def _single(session: Session, reward: RewardSource) -> str:
    match reward:
        case RunReward(run=uid):
            return f"reward model {session.scalar(select(Run.name).where(Run.uid == uid)) or uid}"
        case FunctionReward(name=name):
            return f"function {name}"
        case EntailmentReward(model=model):
            return f"entailment by {model}"
    return {"gold": "gold reward of the task"}.get(reward.kind, reward.kind)
