"""Looks at the new evaluations of sweeps that stop hopeless runs early, and stops those on which the evidence is in.

Part of the reconcile loop; any number of processes may do it. A run is judged once for each of its evaluations.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from backend import runs
from backend.database import NOW, Database
from backend.early_stop import Contender, EarlyStop, Evidence, Rewards, judge, looks
from backend.models import Evaluation, Run, Sample
from backend.models_sweeps import Sweep, SweepMember
from backend.run_errors import StateConflict
from backend.states import RunState

_log = logging.getLogger(__name__)

_RIVALS = (RunState.QUEUED, RunState.RUNNING, RunState.SUCCEEDED)
"""A run that failed or was given up shows what its early lead was worth: it stops nobody."""


def look(database: Database) -> int:
    """Judge every running member with an evaluation that was not looked at yet. Returns how many were stopped."""
    with database.snapshot() as session:
        waiting = _to_judge(session)
        verdicts = [(sweep, row, step, _verdict(session, sweep, row, run)) for sweep, row, run, step in waiting]
    stopped = 0
    for sweep, row, step, evidence in verdicts:
        # A run that ends at this very moment needs no stopping.
        with suppress(StateConflict), database.transaction() as session:
            stopped += _settle(session, sweep, row, step, evidence)
    return stopped


def _to_judge(session: Session) -> list[tuple[Sweep, SweepMember, Run, int]]:
    newest = (
        select(func.max(Evaluation.step)).where(Evaluation.run_id == SweepMember.run_id).correlate(SweepMember)
    ).scalar_subquery()
    query = (
        select(Sweep, SweepMember, Run, newest)
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


def _verdict(session: Session, sweep: Sweep, row: SweepMember, run: Run) -> Evidence | None:
    rule = EarlyStop.model_validate(sweep.early_stop)
    if run.total_steps is None:
        return None
    steps = looks(rule, run.total_steps, row.evaluate_every)
    members = session.execute(
        select(SweepMember, Run)
        .join(Run, Run.id == SweepMember.run_id)
        .where(SweepMember.sweep_id == sweep.id, SweepMember.parent.is_(None))
    ).all()

    def group(one: SweepMember, of: Run) -> tuple[str | None, ...]:
        return (one.yardstick,) if rule.against == "sweep" else (of.algorithm, one.variant, one.yardstick)

    sizes = Counter(group(one, of) for one, of in members)
    mine = group(row, run)
    rivals = [of for one, of in members if group(one, of) == mine and of.id != run.id and of.state in _RIVALS]
    contenders = _contenders(session, [run, *rivals])
    ids = {of.uid: of.id for of in (run, *rivals)}

    def rewards(uid: str, step: int) -> Rewards:
        chosen = select(Sample.prompt_index, Sample.prompt, Sample.reward)
        rows = session.execute(chosen.where(Sample.run_id == ids[uid], Sample.step == step))
        return {(sample.prompt_index, sample.prompt): sample.reward for sample in rows}

    return judge(
        rule,
        contenders[0],
        contenders[1:],
        steps=steps,
        comparisons=sum(size * (size - 1) for size in sizes.values()),
        rewards=rewards,
    )


def _contenders(session: Session, found: Sequence[Run]) -> list[Contender]:
    means: dict[int, dict[int, float]] = {run.id: {} for run in found}
    query = select(Evaluation.run_id, Evaluation.step, Evaluation.reward_mean)
    for one in session.execute(query.where(Evaluation.run_id.in_(means), Evaluation.reward_mean.is_not(None))):
        means[one.run_id][one.step] = one.reward_mean
    return [Contender(run.uid, run.name, means[run.id]) for run in found]


def _settle(session: Session, sweep: Sweep, row: SweepMember, step: int, evidence: Evidence | None) -> bool:
    """Write down that the evaluation was looked at; stop the run where that is the verdict, and nobody was faster."""
    mine = update(SweepMember).where(SweepMember.run_id == row.run_id, SweepMember.stopped.is_(None))
    session.execute(mine.values(judged_step=step))
    run = session.get(Run, row.run_id)
    if evidence is None or run is None or run.state != RunState.RUNNING:
        return False
    told = {"evidence": evidence.model_dump(mode="json"), "at": session.scalar(select(NOW)), "fence": run.fence}
    if not session.execute(mine.values(stopped=told).returning(SweepMember.run_id)).all():
        return False
    runs.cancel(session, run, reason=evidence.sentence(), actor="sweep")
    _log.info("sweep %s: run %s %s", sweep.uid, run.uid, evidence.sentence())
    return True
