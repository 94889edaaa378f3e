"""Trials: a prompt is queued like a run, ahead of them, and a worker lets the policies answer (copg_core/trial.py).

A trial is a row of `run` with the algorithm `trial`, so that it is claimed, given a device, watched and stopped as runs are.
No list of runs holds it, and it is nobody's child: a run may be deleted whose policy was tried.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from pydantic import ValidationError
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from backend import lineage, runs, who
from backend.database import NOW
from backend.errors import Invalid
from backend.models import TRIAL, Run, RunEvent, RunParent
from backend.run_errors import ParentError, RunNotFound
from backend.schemas.trials import TrialCreate
from backend.states import TERMINAL, RunState
from copg_core import places
from copg_core.config import RUN_CONFIG, PreferenceConfig, RunConfig
from copg_core.recipe import Generation
from copg_core.reward_sources import DataReward, FunctionReward, RewardSource, RunReward, context_columns, parts
from copg_core.rewards.registry import is_own
from copg_core.rewards.scorer import shortened
from copg_core.sources import DataSource, TaskData
from copg_core.trial_config import TRIAL_SCHEMA, TrialConfig, TrialPolicy, TrialReference, parents

FIRST = 100
"""A person waits before the page: trials have the highest priority that a run can be given."""
LONGEST_SECONDS = 1800.0
MOST_KEPT = 200
SCORING = "scoring"
"""The section of a trial's report that says whose reward it is, or why there is none."""


def get(session: Session, uid: str) -> Run:
    """The trial with this public id. Raises RunNotFound."""
    found = find(session, uid)
    if found is None:
        raise RunNotFound(uid)
    return found


def find(session: Session, uid: str) -> Run | None:
    """The same, or None."""
    return session.scalars(select(Run).where(Run.uid == uid, Run.algorithm == TRIAL)).one_or_none()


def create(session: Session, request: TrialCreate) -> Run:
    """A new trial in the queue of its first run. Raises Invalid with the field that is wrong."""
    asked = [_finished(session, uid, f"runs.{place}") for place, uid in enumerate(request.runs)]
    configs = [config for _, config in asked]
    scored_by, reward, unscored = _reward(session, request, asked)
    # The gold reward is that of the task which the reward's own run has, where it is the reward.
    tasks = [one.data for one in (*([scored_by[1]] if scored_by else []), *configs) if isinstance(one.data, TaskData)]
    first = configs[0].evaluation.generation
    with places.unguarded():
        config = TrialConfig(
            prompt=request.prompt,
            chat=request.chat,
            policies=[
                TrialPolicy(run=run.uid, max_prompt_tokens=one.max_prompt_tokens, reference=_reference(one))
                for run, one in asked
            ],
            completions=request.completions,
            generation=Generation(
                max_new_tokens=request.max_new_tokens or first.max_new_tokens,
                temperature=first.temperature if request.temperature is None else request.temperature,
                batch_size=first.batch_size,
            ),
            seed=request.seed,
            reward=reward,
            task=tasks[0] if tasks else None,
            dtype=configs[0].dtype,
        )
    said = {"scored_by": scored_by[0].uid if scored_by else None, "asked": request.reward_of, "unscored": unscored}
    row = Run(
        uid=uuid.uuid4().hex,
        name=f"Trial: {shortened(request.prompt)}",
        algorithm=TRIAL,
        config=config.model_dump(mode="json"),
        report={SCORING: said},
        queue=asked[0][0].queue,
        priority=FIRST,
        gpus=0 if all(run.gpus == 0 for run, _ in asked) else None,
        max_attempts=2,
        max_seconds=LONGEST_SECONDS,
        config_schema=TRIAL_SCHEMA,
        state=RunState.QUEUED.value,
        created_at=NOW,
        changed_at=NOW,
    )
    session.add(row)
    session.flush()
    for role, uid in parents(config).items():
        parent = session.scalar(select(Run.id).where(Run.uid == uid))  # or a folder, which is left to the worker
        if parent is not None:
            session.add(RunParent(run_id=row.id, role=role, parent_id=parent))
    session.execute(insert(RunEvent).values(run_id=row.id, fence=0, target=row.state, actor=who.actor(), at=NOW))
    return runs.fresh(session, row)


def forget_old(session: Session) -> list[str]:
    """Delete the oldest ended trials beyond MOST_KEPT. Returns their ids: their folders are the caller's to remove. What
    another request is deleting is left to it."""
    last = session.scalar(
        select(Run.id).where(Run.algorithm == TRIAL).order_by(Run.id.desc()).offset(MOST_KEPT - 1).limit(1)
    )
    if last is None:
        return []
    ended = [state.value for state in TERMINAL]
    old = select(Run).where(Run.algorithm == TRIAL, Run.id < last, Run.state.in_(ended)).order_by(Run.id).limit(20)
    gone = []
    for row in session.scalars(old.with_for_update(skip_locked=True)).all():
        gone.append(row.uid)
        runs.delete(session, row)
    return gone


def _finished(session: Session, uid: str, field: str) -> tuple[Run, RunConfig]:
    try:
        run = lineage.find_parent(session, "policy", uid)
    except ParentError as error:
        raise Invalid.field(field, str(error)) from error
    if run.state != RunState.SUCCEEDED or run.output_path is None:
        raise Invalid.field(field, f"run {run.name!r} is {run.state}: only a finished run has a policy to try")
    try:
        with places.unguarded():  # it was let in when the run was made
            return run, RUN_CONFIG.validate_python(run.config)
    except ValidationError as error:
        raise Invalid.field(
            field, f"the configuration of run {run.name!r} cannot be read by this version: {error.errors()[0]['msg']}"
        ) from error


def _reference(config: RunConfig) -> TrialReference | None:
    """What KL is measured to in the evaluations of such a run; None where it is not."""
    if not isinstance(config, PreferenceConfig):
        return None
    task = config.data if isinstance(config.data, TaskData) else None
    return TrialReference(policy=config.policy, task=task, seed=config.seed)


Asked = tuple[Run, RunConfig]


def _reward(
    session: Session, request: TrialCreate, asked: Sequence[Asked]
) -> tuple[Asked | None, RewardSource | None, str | None]:
    """Whose reward scores all, the reward, and where there is none, why."""
    if request.reward_of is not None:
        asked = [_finished(session, request.reward_of, "reward_of")]
    reasons = []
    for run, config in asked:
        reward = getattr(config, "reward", None)
        why = _unfit(session, reward, config.data)
        if why is None:
            return (run, config), reward, None
        reasons.append(f"{run.name!r}: {why}")
    if request.reward_of is not None:
        raise Invalid.field("reward_of", f"the reward of run {reasons[0]}: choose another run's, or none")
    return None, None, "; ".join(dict.fromkeys(reasons))


def _unfit(session: Session, reward: RewardSource | None, data: DataSource) -> str | None:
    if reward is None:
        return "it has no reward"
    if isinstance(reward, DataReward):
        return "its rewards stand in its data, and nothing can score new completions"
    given = [] if isinstance(data, TaskData) else data.context  # to functions of other packages, which may read them
    strange = any(isinstance(part, FunctionReward) and not is_own(part.name) for _, part in parts(reward))
    if columns := context_columns(reward) or (list(given) if strange else []):
        return f"its reward reads the column {columns[0]!r} of the data, which a typed prompt does not have"
    for _, part in parts(reward):
        if isinstance(part, RunReward) and "/" not in part.run:
            state = session.scalar(select(Run.state).where(Run.uid == part.run, Run.output_path.is_not(None)))
            if state != RunState.SUCCEEDED:
                return "its reward model is not there any more"
    return None
