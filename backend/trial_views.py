"""Trials as the JSON of the API. Their configurations are read without being checked: they may be of another version, and
what they name was let in when they were made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.models import TRIAL, Evaluation, Run, Sample
from backend.schemas.trials import TrialAnswer, TrialCompletion, TrialOut, TrialSummary
from backend.states import RunState
from backend.trials import SCORING
from backend.views import moment

_SHOWN = 200  # characters of a prompt in a list


def summary(row: Run) -> TrialSummary:
    """One line of the list."""
    return TrialSummary(
        id=row.uid, state=RunState(row.state), prompt=str(row.config.get("prompt", ""))[:_SHOWN],
        runs=len(row.config.get("policies", ())), created_at=moment(row.created_at),
    )  # fmt: skip


def detail(session: Session, row: Run) -> TrialOut:
    """A trial with what was written so far."""
    config, said = row.config, row.report.get(SCORING, {})
    generation, reward = config.get("generation") or {}, config.get("reward")
    return TrialOut(
        id=row.uid,
        state=RunState(row.state),
        stage=row.stage,
        error=row.error,
        prompt=config.get("prompt", ""),
        chat=config.get("chat", False),
        completions=config.get("completions", 0),
        max_new_tokens=generation.get("max_new_tokens", 0),
        temperature=generation.get("temperature", 1.0),
        seed=config.get("seed", 0),
        reward=" + ".join(_words(session, reward)) if reward else None,
        scored_by=said.get("scored_by"),
        reward_of=said.get("asked"),
        unscored=said.get("unscored"),
        has_gold=config.get("task") is not None and (reward or {}).get("kind") != "gold",
        answers=_answers(session, row),
        created_at=moment(row.created_at),
        started_at=moment(row.started_at),
        finished_at=moment(row.finished_at),
    )


def _answers(session: Session, row: Run) -> list[TrialAnswer]:
    uids = [str(policy.get("run", "")) for policy in row.config.get("policies", ())]
    runs = select(Run.uid, Run.name, Run.algorithm).where(Run.uid.in_(uids), Run.algorithm != TRIAL)
    named = {one.uid: one for one in session.execute(runs)}
    told = {one.step: one for one in session.scalars(select(Evaluation).where(Evaluation.run_id == row.id))}
    written: dict[int, list[TrialCompletion]] = defaultdict(list)
    samples = select(
        Sample.step, Sample.completion, Sample.reward, Sample.gold, Sample.kl, Sample.length, Sample.finished
    )
    for one in session.execute(samples.where(Sample.run_id == row.id).order_by(Sample.step, Sample.prompt_index)):
        written[one.step].append(
            TrialCompletion(
                text=one.completion,
                reward=one.reward,
                gold=one.gold,
                kl=one.kl,
                length=one.length,
                finished=one.finished,
            )
        )
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
                chat_template=read.get("chat_template"),
                warning=read.get("warning"),
                error=read.get("error"),
                unscored=read.get("unscored"),
                reward_mean=evaluation.reward_mean if evaluation else None,
                reward_stderr=evaluation.reward_stderr if evaluation else None,
                gold_mean=evaluation.gold_mean if evaluation else None,
                gold_stderr=evaluation.values.get("gold_stderr") if evaluation else None,
                unmeasured=read.get("unmeasured"),
                kl=evaluation.kl if evaluation else None,
                kl_stderr=evaluation.values.get("kl_stderr") if evaluation else None,
                completions=written[place],
            )
        )
    return answers


def _words(session: Session, reward: Mapping[str, Any]) -> Iterator[str]:
    """What a reward is called, term by term."""
    match reward.get("kind"):
        case "sum":
            for term in reward.get("rewards", ()):
                for words in _words(session, term.get("reward") or {}):
                    yield f"{term.get('weight', 1)} × {words}"
        case "run":
            uid = str(reward.get("run", ""))
            yield f"reward model {session.scalar(select(Run.name).where(Run.uid == uid)) or uid}"
        case "function":
            yield f"function {reward.get('name')}"
        case "entailment":
            yield f"entailment by {reward.get('model')}"
        case "gold":
            yield "gold reward of the task"
        case kind:
            yield str(kind)
