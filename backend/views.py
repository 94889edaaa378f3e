"""Rows of SQL as the JSON of the API."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast, overload

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend import data_sets, lineage
from backend.early_stop import Evidence, StoppedEarly
from backend.models import Evaluation, Pipeline, Run, RunEvent, RunParent, Sample
from backend.models_machines import Gpu
from backend.models_sweeps import Sweep, SweepMember
from backend.schemas.pipelines import PipelineOut
from backend.schemas.recorded import EvaluationOut, SampleOut
from backend.schemas.runs import ParentRef, RunDataRef, RunDetail, RunEventOut, RunSummary
from backend.states import RunState
from copg_core.config import variant_of


@overload
def moment(seconds: float) -> datetime: ...
@overload
def moment(seconds: None) -> None: ...
def moment(seconds: float | None) -> datetime | None:
    """Seconds since 1970 as a UTC time."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def remaining_seconds(run: Run) -> float | None:
    """Seconds that training still takes at the pace of this attempt so far, evaluations included.

    The clock is that of the last report, not of the question, so that the estimate does not swell between reports. None
    until two steps of this attempt are done: the first one pays for warming up.
    """
    if run.state != RunState.RUNNING or run.training_started_at is None or run.total_steps is None:
        return None
    done = run.step - (run.training_started_step or 0)
    left = run.total_steps - run.step
    if done < 2 or left < 0:
        return None
    return round(max(0.0, run.changed_at - run.training_started_at) / done * left, 1)


def summaries(session: Session, runs: Sequence[Run]) -> list[RunSummary]:
    """The rows of the runs table, in the order given; three queries, however many they are."""
    if not runs:
        return []
    parents: dict[int, list[str]] = defaultdict(list)
    for child, role, uid in session.execute(
        select(RunParent.run_id, RunParent.role, Run.uid)
        .join(Run, Run.id == RunParent.parent_id)
        .where(RunParent.run_id.in_([run.id for run in runs]))
        .order_by(RunParent.run_id, RunParent.role)
    ):
        if lineage.is_parent(role) and uid not in parents[child]:
            parents[child].append(uid)
    wanted = {run.pipeline_id for run in runs} - {None}
    pipelines: dict[int, str] = {}
    if wanted:
        rows = session.execute(select(Pipeline.id, Pipeline.uid).where(Pipeline.id.in_(wanted)))
        pipelines = {row.id: row.uid for row in rows}
    made = select(SweepMember.run_id, Sweep.uid).join(Sweep, Sweep.id == SweepMember.sweep_id)
    of_sweeps = session.execute(made.where(SweepMember.run_id.in_([run.id for run in runs])))
    sweeps: dict[int, str] = {row.run_id: row.uid for row in of_sweeps}
    return [
        RunSummary(
            **_summary(run, parents[run.id], pipelines.get(run.pipeline_id) if run.pipeline_id else None),
            sweep=sweeps.get(run.id),
        )
        for run in runs
    ]


def _summary(run: Run, parents: list[str], pipeline: str | None) -> dict[str, Any]:
    return {
        "id": run.uid,
        "name": run.name,
        "algorithm": run.algorithm,
        "variant": variant_of(run.config),
        "beta": run.beta,
        "state": run.state,
        "stage": run.stage,
        "stage_done": run.stage_done,
        "stage_total": run.stage_total,
        "step": run.step,
        "total_steps": run.total_steps,
        "remaining_seconds": remaining_seconds(run),
        "last_reward": run.last_reward,
        "priority": run.priority,
        "tags": run.tags,
        "attempt": run.attempt,
        "pipeline": pipeline,
        "parents": parents,
        "error": run.error,
        "error_kind": run.error_kind,
        "fence": run.fence,
        "rev": run.rev,
        "created_at": moment(run.created_at),
        "started_at": moment(run.started_at),
        "finished_at": moment(run.finished_at),
    }


def detail(session: Session, run: Run) -> RunDetail:
    """Everything about one run but its curves."""
    [summary] = summaries(session, [run])
    above = [ParentRef(role=role, id=parent.uid, name=parent.name, state=parent.state)
             for role, parent in lineage.parents_of(session, run.id)]  # fmt: skip
    children = session.execute(
        select(RunParent.role, Run.uid, Run.name, Run.state)
        .join(Run, Run.id == RunParent.run_id)
        .where(RunParent.parent_id == run.id)
        .order_by(Run.id, RunParent.role)
    )
    held = select(Gpu.index).where(Gpu.run_id == run.id).order_by(Gpu.index)
    events = session.scalars(select(RunEvent).where(RunEvent.run_id == run.id).order_by(RunEvent.id))
    return RunDetail(
        **summary.model_dump(),
        config=run.config,
        notes=run.notes,
        edited=run.edited,
        report=run.report,
        data_sets=[
            RunDataRef(
                id=row.uid, role=role, name=row.name, sha256=row.content_hash, deleted=row.deleted_at is not None
            )
            for role, row in data_sets.read_by(session, run.id)
        ],
        parent_runs=[one for one in above if lineage.is_parent(one.role)],
        awaited_runs=[one for one in above if not lineage.is_parent(one.role)],
        children=[
            ParentRef(role=role, id=uid, name=name, state=state)
            for role, uid, name, state in children
            if lineage.is_parent(role)
        ],
        queue=run.queue,
        worker=run.owner,
        gpus=run.gpus,
        gpu_indices=list(session.scalars(held)),
        max_attempts=run.max_attempts,
        max_seconds=run.max_seconds,
        checkpoint_step=run.checkpoint_step,
        stopped_early=stopped_early(
            run, session.scalar(select(SweepMember.stopped).where(SweepMember.run_id == run.id))
        ),
        events=[
            RunEventOut(
                origin=RunState(event.origin) if event.origin else None,
                target=RunState(event.target),
                reason=event.reason,
                actor=event.actor,
                at=moment(event.at),
            )
            for event in events
        ],
    )


def stopped_early(run: Run, stopped: dict[str, Any] | None) -> StoppedEarly | None:
    """Why a run's sweep stopped it, from what its membership says; None where it did not."""
    if stopped is None:
        return None
    given_up = run.state in (RunState.CANCELLING, RunState.CANCELLED) and run.fence <= stopped["fence"]
    evidence = Evidence.model_validate(stopped["evidence"])
    return StoppedEarly(
        reason=evidence.sentence(), evidence=evidence, at=moment(stopped["at"]), resumed=not given_up
    )  # fmt: skip


def evaluation(row: Evaluation) -> EvaluationOut:
    """One evaluation."""
    return EvaluationOut(
        step=row.step,
        n=row.n,
        reward_mean=row.reward_mean,
        reward_stderr=row.reward_stderr,
        kl=row.kl,
        length_mean=row.length_mean,
        unfinished_share=row.unfinished_share,
        gold_mean=row.gold_mean,
        values=row.values,
        recorded_at=moment(row.recorded_at),
    )


def sample(row: Sample) -> SampleOut:
    """One completion."""
    return SampleOut(
        step=row.step,
        prompt_index=row.prompt_index,
        prompt=row.prompt,
        completion=row.completion,
        reward=row.reward,
        gold=row.gold,
        kl=row.kl,
        length=row.length,
        finished=row.finished,
    )


def pipelines(session: Session, rows: Sequence[Pipeline]) -> list[PipelineOut]:
    """Pipelines with their runs in the order of their making."""
    members = session.scalars(
        select(Run).where(Run.pipeline_id.in_([row.id for row in rows])).order_by(Run.id)
    ).all()  # fmt: skip
    by_pipeline: dict[int, list[RunSummary]] = defaultdict(list)
    for run, summary in zip(members, summaries(session, members), strict=True):
        by_pipeline[cast(int, run.pipeline_id)].append(summary)
    return [
        PipelineOut(
            id=row.uid,
            name=row.name,
            preset=row.preset,
            size=row.size,
            created_at=moment(row.created_at),
            runs=by_pipeline[row.id],
        )
        for row in rows
    ]
