"""Sweeps as the JSON of the API: where they stand, what they cost, what is best in them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, defer

from backend import occupancy, queue_control, views
from backend.dispatch import living_places
from backend.early_stop import EarlyStop
from backend.models import Evaluation, Run
from backend.models_sweeps import Sweep, SweepMember
from backend.schemas.sweeps import Best, Final, MemberList, MemberOut, SweepOut, SweepSpec, SweepSummary
from backend.settings import Settings
from backend.states import TERMINAL, RunState
from backend.sweep_names import varying
from backend.sweep_remaining import Pace, remaining

_GIVEN_UP = (RunState.FAILED, RunState.CANCELLED)
_APART = (
    "Its runs are scored by different rewards or on different prompts: no best of all is named, because their rewards "
    "cannot be compared."
)


@dataclass(frozen=True)
class _Member:
    run: Run
    row: SweepMember
    final: Evaluation | None
    held: occupancy.Held

    @property
    def total_steps(self) -> int | None:
        return self.run.total_steps if self.run.total_steps is not None else self.row.planned_steps


def _runs_of(sweep_ids: Sequence[int]) -> Select[int]:
    return select(SweepMember.run_id).where(SweepMember.sweep_id.in_(sweep_ids))


def _load(session: Session, sweep_ids: Sequence[int]) -> dict[int, list[_Member]]:
    chosen = _runs_of(sweep_ids)
    held = occupancy.held_by(session, chosen)
    finals = last_evaluations(session, chosen)
    found: dict[int, list[_Member]] = defaultdict(list)
    pairs = session.execute(
        select(SweepMember, Run)
        .join(Run, Run.id == SweepMember.run_id)
        .where(SweepMember.sweep_id.in_(sweep_ids))
        .order_by(SweepMember.position)
        .options(defer(Run.config), defer(Run.report))  # thousands of them are only counted
    )
    for row, run in pairs:
        found[row.sweep_id].append(_Member(run, row, finals.get(run.id), held.get(run.id, occupancy.Held())))
    return found


def last_evaluations(session: Session, run_ids: Select[int]) -> dict[int, Evaluation]:
    """The newest evaluation of each of these runs."""
    newest = (
        select(Evaluation.run_id, func.max(Evaluation.step).label("step"))
        .where(Evaluation.run_id.in_(run_ids))
        .group_by(Evaluation.run_id)
        .subquery()
    )
    query = select(Evaluation).join(
        newest, (newest.c.run_id == Evaluation.run_id) & (newest.c.step == Evaluation.step)
    )  # fmt: skip
    return {row.run_id: row for row in session.scalars(query)}


def lanes(session: Session, settings: Settings, gpus: int | None) -> int:
    """Runs that take `gpus` each which the living workers of our queue train at the same time; 0 while it is paused."""
    if queue_control.read(session).paused:
        return 0
    places = [one for one in living_places(session, settings) if one.queue == settings.queue and not one.draining]
    return sum(
        (one.whole_gpus if count > 1 else one.gpus) // count if (count := one.wants_gpus(gpus)) else one.cpu_slots
        for one in places
    )


def summaries(session: Session, sweeps: Sequence[Sweep], settings: Settings) -> list[SweepSummary]:
    """Sweeps with their counts, in the order given; the number of queries does not depend on how many they are."""
    if not sweeps:
        return []
    loaded = _load(session, [sweep.id for sweep in sweeps])
    found = {gpus: lanes(session, settings, gpus) for gpus in {sweep.spec.get("gpus") for sweep in sweeps}}
    paused = queue_control.read(session).paused
    return [
        SweepSummary(**_summary(sweep, loaded[sweep.id], found[sweep.spec.get("gpus")], paused=paused))
        for sweep in sweeps
    ]


def detail(session: Session, sweep: Sweep, settings: Settings) -> SweepOut:
    """One sweep with what it was made of."""
    loaded = _load(session, [sweep.id])[sweep.id]
    slots = lanes(session, settings, sweep.spec.get("gpus"))
    found = _summary(sweep, loaded, slots, paused=queue_control.read(session).paused)
    parents = [one.run for one in loaded if one.row.parent is not None]
    yardsticks = {one.row.yardstick for one in loaded if one.row.parent is None}
    return SweepOut(
        **found,
        spec=SweepSpec.model_validate(sweep.spec),
        early_stop=EarlyStop.model_validate(sweep.early_stop) if sweep.early_stop else None,
        parents=views.summaries(session, parents),
        note=_APART if len(yardsticks) > 1 else None,
    )


def _summary(sweep: Sweep, loaded: list[_Member], slots: int, *, paused: bool) -> dict[str, Any]:
    compared = [one for one in loaded if one.row.parent is None]
    counts = Counter(one.run.state for one in compared)
    totals = [one.run.step if one.run.state in _GIVEN_UP else one.total_steps for one in compared]
    done = sum(one.run.step for one in compared)
    total = None if None in totals else sum(count for count in totals if count is not None)
    best, by_algorithm = _best(compared)
    return {
        "id": sweep.uid,
        "name": sweep.name,
        "notes": sweep.notes,
        "created_at": views.moment(sweep.created_at),
        "priority": sweep.priority,
        "total": len(compared),
        "states": {state: counts.get(state.value, 0) for state in RunState},
        "active": any(RunState(one.run.state) not in TERMINAL for one in loaded),
        "deleting": sweep.deleting_at is not None,
        "steps_done": done,
        "steps_total": total,
        "progress": _progress(compared),
        "stopped_early": sum(
            seen is not None and not seen.resumed
            for seen in (views.stopped_early(one.run, one.row.stopped) for one in compared)
        ),
        "device_seconds": round(sum(one.held.device_seconds for one in loaded), 3),
        "remaining": remaining([_pace(one) for one in loaded], slots, paused=paused),
        "best": best,
        "best_by_algorithm": by_algorithm,
        "fields": varying(one.row.overrides for one in compared),
        "algorithms": list(dict.fromkeys(one.run.algorithm for one in compared)),
    }


def _progress(compared: Sequence[_Member]) -> float:
    """Mean share of its steps that each run has done; one that ended is whole."""
    shares = [
        1.0 if RunState(one.run.state) in TERMINAL else min(1.0, one.run.step / total) if (total := one.total_steps) else 0.0
        for one in compared
    ]  # fmt: skip
    return round(sum(shares) / len(shares), 4) if shares else 0.0


def _pace(one: _Member) -> Pace:
    return Pace(
        state=RunState(one.run.state),
        algorithm=one.run.algorithm,
        parent=one.row.parent is not None,
        step=one.run.step,
        total_steps=one.total_steps,
        remaining=views.remaining_seconds(one.run),
        held=one.held.seconds,
    )


def _best(compared: Sequence[_Member]) -> tuple[Best | None, list[Best]]:
    """The best finished run of all, where all are measured alike, and of each algorithm and measure."""
    groups: dict[tuple[str, str | None, str], list[_Member]] = defaultdict(list)
    for one in compared:
        if one.run.state == RunState.SUCCEEDED and one.final is not None and one.final.reward_mean is not None:
            groups[one.run.algorithm, one.row.variant, one.row.yardstick].append(one)
    everybody = [one for group in groups.values() for one in group]
    alike = len({one.row.yardstick for one in everybody}) == 1
    return (_of(everybody) if alike else None), [_of(group) for group in groups.values()]


def _of(group: Sequence[_Member]) -> Best:
    def mean(one: _Member) -> float:
        assert one.final is not None
        assert one.final.reward_mean is not None
        return one.final.reward_mean

    best = max(group, key=mean)
    assert best.final is not None
    return Best(
        run=best.run.uid, name=best.run.name, algorithm=best.run.algorithm, variant=best.row.variant,
        overrides=best.row.overrides, reward_mean=mean(best), reward_stderr=best.final.reward_stderr, n=best.final.n,
        step=best.final.step, of=len(group),
    )  # fmt: skip


def members(session: Session, sweep: Sweep, after: int | None, limit: int) -> tuple[MemberList, int | None]:
    """A page of the compared runs behind position `after`, and the position where the next begins."""
    mine = (SweepMember.sweep_id == sweep.id) & SweepMember.parent.is_(None)
    page = select(SweepMember, Run).join(Run, Run.id == SweepMember.run_id).where(mine)
    if after is not None:
        page = page.where(SweepMember.position > after)
    found = session.execute(page.order_by(SweepMember.position).limit(limit + 1)).all()
    more, found = len(found) > limit, found[:limit]
    finals = last_evaluations(session, _runs_of([sweep.id]))
    fields = varying(session.scalars(select(SweepMember.overrides).where(mine).order_by(SweepMember.position)).all())
    items = [
        MemberOut(
            run=summary,
            parent=row.parent,
            overrides=row.overrides,
            final=_final(finals.get(run.id)),
            stopped_early=views.stopped_early(run, row.stopped),
        )
        for (row, run), summary in zip(found, views.summaries(session, [run for _, run in found]), strict=True)
    ]
    total = session.scalar(select(func.count()).select_from(SweepMember).where(mine)) or 0
    last = found[-1][0].position if more else None
    return MemberList(fields=fields, items=items, next_cursor=None, total=total), last


def _final(row: Evaluation | None) -> Final | None:
    if row is None:
        return None
    return Final(
        step=row.step, n=row.n, reward_mean=row.reward_mean, reward_stderr=row.reward_stderr, gold_mean=row.gold_mean,
        kl=row.kl,
    )  # fmt: skip
