"""Looks at the new evaluations of sweeps that stop hopeless runs early, and stops those on which the evidence is in.

Part of the reconcile loop; any number of processes may do it. A run is judged once for each of its evaluations.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from sqlalchemy import func, or_, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from backend import runs
from backend.database import NOW, Database
from backend.early_stop import Budget, Contender, EarlyStop, Evidence, Rewards, judge, left_of, looks
from backend.models import Evaluation, Run, Sample
from backend.models_sweeps import Sweep, SweepMember
from backend.run_errors import StateConflict
from backend.states import RunState

_log = logging.getLogger(__name__)

_RIVALS = (RunState.QUEUED, RunState.RUNNING, RunState.SUCCEEDED)
"""A run that failed or was given up shows what its early lead was worth: it stops nobody."""


class _Member(NamedTuple):
    """A compared run of a sweep, without what takes long to read."""

    id: int
    uid: str
    name: str
    algorithm: str
    state: str
    total_steps: int | None
    yardstick: str
    variant: str | None
    evaluate_every: int
    judged_step: int | None
    alpha_spent: float
    alpha_before: float
    """Of its sweep; read in one statement with the steps that were judged, or a judgement in between would count half."""


def look(database: Database) -> int:
    """Judge every running member with an evaluation that was not looked at yet. Returns how many were stopped."""
    with database.snapshot() as session:
        waiting = _to_judge(session)
        members = {sweep.id: _members(session, sweep) for sweep in {one.id: one for one, _, _ in waiting}.values()}
        verdicts = [
            (sweep, run, step, *_verdict(session, sweep, members[sweep.id], run)) for sweep, run, step in waiting
        ]
    stopped = 0
    for sweep, run, step, evidence, used in verdicts:
        # A run that ends at this very moment needs no stopping.
        try:
            with suppress(StateConflict), database.transaction() as session:
                stopped += _settle(session, sweep, run, step, evidence, used)
        except (
            OperationalError
        ) as error:  # somebody works on the whole sweep, or the database is away: a later turn judges
            _log.warning("sweep %s is not judged now: %s", sweep.uid, str(error).splitlines()[0])
            break
    return stopped


def _to_judge(session: Session) -> list[tuple[Sweep, int, int]]:
    newest = (
        select(func.max(Evaluation.step)).where(Evaluation.run_id == SweepMember.run_id).correlate(SweepMember)
    ).scalar_subquery()
    query = (
        select(Sweep, SweepMember.run_id, newest)
        .join(SweepMember, SweepMember.sweep_id == Sweep.id)
        .join(Run, Run.id == SweepMember.run_id)
        .where(
            Sweep.early_stop.is_not(None),
            SweepMember.parent.is_(None),
            SweepMember.stopped.is_(None),
            Run.state == RunState.RUNNING.value,
            newest > func.coalesce(SweepMember.judged_step, -1),
        )
    )
    return [tuple(row) for row in session.execute(query)]


def _members(session: Session, sweep: Sweep) -> list[_Member]:
    rows = session.execute(
        select(
            Run.id, Run.uid, Run.name, Run.algorithm, Run.state, func.coalesce(Run.total_steps, SweepMember.planned_steps),
            SweepMember.yardstick, SweepMember.variant, SweepMember.evaluate_every, SweepMember.judged_step,
            Sweep.alpha_spent, Sweep.alpha_before,
        )
        .join(SweepMember, SweepMember.run_id == Run.id)
        .join(Sweep, Sweep.id == SweepMember.sweep_id)
        .where(Sweep.id == sweep.id, SweepMember.parent.is_(None))
    )  # fmt: skip
    return [_Member(*tuple(row)) for row in rows]


def _verdict(
    session: Session, sweep: Sweep, members: Sequence[_Member], run_id: int
) -> tuple[Evidence | None, float]:  # fmt: skip
    """What speaks against the run, and how much of alpha it took to look."""
    rule = EarlyStop.model_validate(sweep.early_stop)
    run = next(one for one in members if one.id == run_id)
    if run.total_steps is None:
        return None, 0.0
    steps = looks(rule, run.total_steps, run.evaluate_every)

    def group(one: _Member) -> tuple[str | None, ...]:
        return (one.yardstick,) if rule.against == "sweep" else (one.algorithm, one.variant, one.yardstick)

    mine = group(run)
    rivals = [one for one in members if group(one) == mine and one.id != run.id and one.state in _RIVALS]
    contenders = _contenders(session, [run, *rivals])
    seen = -1 if run.judged_step is None else run.judged_step
    if not any(step > seen and step in contenders[0].means for step in steps):
        return None, 0.0  # no look: it is too early, or its last evaluation
    ids = {one.uid: one.id for one in (run, *rivals)}

    def rewards(uid: str, step: int) -> Rewards:
        chosen = select(Sample.prompt_index, Sample.prompt, Sample.reward)
        rows = session.execute(chosen.where(Sample.run_id == ids[uid], Sample.step == step))
        return {(sample.prompt_index, sample.prompt): sample.reward for sample in rows}

    sizes = Counter(group(one) for one in members)
    budget = _budget(rule, members, run, {one.id: sizes[group(one)] - 1 for one in members})
    evidence = judge(
        rule,
        contenders[0],
        contenders[1:],
        steps=steps,
        comparisons=sum(size * (size - 1) for size in sizes.values()),
        budget=budget,
        rewards=rewards,
    )
    return evidence, budget.used if rule.rule == "paired" else 0.0


def _budget(rule: EarlyStop, members: Sequence[_Member], run: _Member, rivals: Mapping[int, int]) -> Budget:
    """What is left of alpha for the looks to come of all members, those that ended among them: a person may resume them."""
    tests = 0
    for one in members:
        steps = looks(rule, one.total_steps or run.total_steps or 0, one.evaluate_every)
        tests += rivals[one.id] * sum(step > (-1 if one.judged_step is None else one.judged_step) for step in steps)
    left = left_of(rule.alpha, spent=run.alpha_spent, before=run.alpha_before)
    return Budget(left, tests, rivals[run.id])


def _contenders(session: Session, found: Sequence[_Member]) -> list[Contender]:
    means: dict[int, dict[int, float]] = {run.id: {} for run in found}
    query = select(Evaluation.run_id, Evaluation.step, Evaluation.reward_mean)
    for one in session.execute(query.where(Evaluation.run_id.in_(means), Evaluation.reward_mean.is_not(None))):
        means[one.run_id][one.step] = one.reward_mean
    return [Contender(run.uid, run.name, means[run.id]) for run in found]


def _settle(session: Session, sweep: Sweep, run_id: int, step: int, evidence: Evidence | None, used: float) -> bool:
    """Write down that the evaluation was looked at; stop the run where that is the verdict, and nobody was faster."""
    mine = update(SweepMember).where(SweepMember.run_id == run_id, SweepMember.stopped.is_(None))
    news = or_(SweepMember.judged_step.is_(None), SweepMember.judged_step < step)
    if not session.execute(mine.where(news).values(judged_step=step).returning(SweepMember.run_id)).all():
        return False
    if used:
        session.execute(update(Sweep).where(Sweep.id == sweep.id).values(alpha_spent=Sweep.alpha_spent + used))
    run = session.get(Run, run_id)
    if evidence is None or run is None or run.state != RunState.RUNNING:
        return False
    told = {"evidence": evidence.model_dump(mode="json"), "at": session.scalar(select(NOW)), "fence": run.fence}
    if not session.execute(mine.values(stopped=told).returning(SweepMember.run_id)).all():
        return False
    runs.cancel(session, run, reason=evidence.sentence(), actor="sweep")
    _log.info("sweep %s: run %s %s", sweep.uid, run.uid, evidence.sentence())
    return True
