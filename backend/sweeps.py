"""Sweeps: many runs asked for as one, made together or not at all, and steered together.

Functions take a session inside `Database.transaction()`. Files of deleted runs and wake-ups are the caller's, after the commit.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import update as sql_update
from sqlalchemy.orm import Session

from backend import lineage, many_runs, run_fields, runs, yardsticks
from backend.comparisons import flat
from backend.database import NOW
from backend.errors import Conflict, Invalid, NotFound
from backend.models import Run
from backend.models_sweeps import Sweep, SweepMember
from backend.pipelines import resolved
from backend.preconditions import tag_of
from backend.schemas.sweeps import MOST_MEMBERS, Skipped, SweepCreate, SweepExtend, SweepPatch, SweepSpec
from backend.states import OWNED
from backend.sweep_names import name_of, of_bases, sweep_name, varying
from backend.sweep_plan import Plan, PlannedRun, start_of, with_listed_values
from copg_core.config import RunConfig, variant_of

_TITLES = {"sft": "SFT", "reward_model": "reward model"}
_DELETED_AT_ONCE = 20


def get(session: Session, uid: str, *, lock: bool = False) -> Sweep:
    """The sweep with this public id. `lock`: nobody else changes it before this transaction ends. Raises NotFound."""
    query = select(Sweep).where(Sweep.uid == uid).execution_options(populate_existing=True)
    found = session.scalar(query.with_for_update() if lock else query)
    if found is None:
        raise NotFound(f"there is no sweep {uid!r}")
    return found


def spec_of(sweep: Sweep) -> SweepSpec:
    """What the sweep was asked for, with all extensions."""
    return SweepSpec.model_validate(sweep.spec)


def create(session: Session, request: SweepCreate, planned: Plan, *, queue: str = "default") -> Sweep:
    """The sweep with all its runs. The plan's parents have been looked up (`sweep_plan.check_references`)."""
    differing = varying(one.overrides for one in planned.members)
    name = sweep_name([one.config.algorithm for one in planned.members], differing, len(planned.members))
    sweep = Sweep(
        uid=uuid.uuid4().hex,
        name=request.name or name,
        notes=request.notes,
        priority=request.priority,
        spec=_stored(
            with_listed_values(SweepSpec.model_validate(request.model_dump(include=set(SweepSpec.model_fields))))
        ),
        early_stop=request.early_stop.model_dump(mode="json") if request.early_stop else None,
        created_at=NOW,
    )
    session.add(sweep)
    session.flush()
    session.refresh(sweep)
    _make(session, sweep, planned.parents, planned.members, differing, queue)
    return sweep


def _stored(spec: SweepSpec) -> dict[str, Any]:
    return spec.model_dump(mode="json", by_alias=True)


def extended(spec: SweepSpec, more: SweepExtend) -> SweepSpec:
    """The sweep's specification with further values, bases and entries. Raises Invalid."""
    added = with_listed_values(SweepSpec(grid=more.grid, entries=more.entries, bases=more.bases))
    if more.base is not None and more.base >= len(spec.bases):
        raise Invalid.field(
            "base", f"the sweep has {len(spec.bases)} bases, counted from 0: there is no base {more.base}"
        )
    if more.base is not None:
        base = spec.bases[more.base]
        # Values of the sweep's own grid stay values of this base.
        below = {path: spec.grid[path] for path in added.grid if path in spec.grid and path not in base.grid}
        changed = base.model_copy(
            update={"grid": _joined({**base.grid, **below}, added.grid), "entries": [*base.entries, *added.entries]}
        )
        bases = [changed if number == more.base else one for number, one in enumerate(spec.bases)]
        return spec.model_copy(update={"bases": [*bases, *added.bases]})
    bases = [
        base.model_copy(update={"grid": _joined(base.grid, {path: added.grid[path] for path in added.grid if path in base.grid})})
        for base in spec.bases
    ]  # fmt: skip
    return spec.model_copy(
        update={
            "grid": _joined(spec.grid, added.grid),
            "entries": [*spec.entries, *added.entries],
            "bases": [*bases, *added.bases],
        }
    )


def _joined(values: Any, more: Any) -> dict[str, Any]:
    """Both grids in one: the values of a field that both have stand behind each other, each once."""
    joined = {path: list(found) for path, found in values.items()}
    for path, found in more.items():
        have = {json.dumps(value, sort_keys=True) for value in joined.get(path, [])}
        joined.setdefault(path, []).extend(value for value in found if json.dumps(value, sort_keys=True) not in have)
    return joined


def extend(
    session: Session, sweep: Sweep, wider: SweepSpec, planned: Plan, asked: set[str], *, queue: str = "default"
) -> int:
    """Make the runs of the wider specification that are new; `asked` are the hashes of what was asked for before.

    A combination that was made once and deleted since is not made again. Returns how many were made; raises Invalid over
    the cap, Conflict where the sweep is being deleted.
    """
    _check_stays(sweep)
    query = select(SweepMember).where(SweepMember.sweep_id == sweep.id)
    there = session.scalars(query.order_by(SweepMember.position)).all()
    known = asked | {row.config_hash for row in there}
    fresh = [one for one in planned.members if one.hash not in known]
    count = len(fresh) + sum(row.parent is None for row in there)
    if count > MOST_MEMBERS:
        raise Invalid.field("grid", f"the sweep would have {count:,} runs: at most {MOST_MEMBERS:,}")
    overrides = [row.overrides for row in there if row.parent is None]
    sweep.spec = _stored(wider)
    _make(session, sweep, [], fresh, varying([*overrides, *(one.overrides for one in fresh)]), queue)
    if fresh:  # whose tests have a budget of their own
        session.execute(sql_update(Sweep).where(Sweep.id == sweep.id).values(alpha_before=Sweep.alpha_spent))
    return len(fresh)


def _make(
    session: Session,
    sweep: Sweep,
    parents: Sequence[PlannedRun],
    planned: Sequence[PlannedRun],
    differing: Sequence[str],
    queue: str,
) -> None:
    spec = spec_of(sweep)
    bases = of_bases([flat(start_of(spec, base)) for base in spec.bases])
    schedule = runs.Schedule(gpus=spec.gpus, max_attempts=spec.max_attempts, max_seconds=spec.max_seconds)
    rows = session.execute(
        select(SweepMember.parent, Run.uid)
        .join(Run, Run.id == SweepMember.run_id)
        .where(SweepMember.sweep_id == sweep.id, SweepMember.parent.is_not(None))
    ).all()
    made = {str(row.parent): row.uid for row in rows}
    position = session.scalar(select(func.max(SweepMember.position)).where(SweepMember.sweep_id == sweep.id))
    fresh = []
    for number, one in enumerate((*parents, *planned), 0 if position is None else position + 1):
        _check_aliases(one, made)
        own = bases[one.base] if bases and not one.parent else {}
        name = (
            f"{sweep.name[:180]}: {_TITLES[one.parent]}"
            if one.parent
            else name_of(one.config, {**own, **one.overrides}, list(dict.fromkeys([*own, *differing])))
        )
        config = resolved(one.raw, made)
        run = runs.create(
            session, config, name=name, priority=sweep.priority, queue=queue, schedule=schedule, findable=False
        )
        fresh.append(run)
        if one.parent:
            made[one.parent] = run.uid
        session.add(
            SweepMember(
                run_id=run.id,
                sweep_id=sweep.id,
                position=number,
                parent=one.parent,
                overrides=one.overrides,
                config_hash=one.hash,
                yardstick=yardstick(one.config),
                variant=(variant_of(config.model_dump(mode="json")) or "")[:80] or None,
                planned_steps=one.config.steps,
                evaluate_every=one.config.evaluation.every,
            )
        )
    session.flush()
    run_fields.write(session, fresh)


def _check_aliases(one: PlannedRun, made: dict[str, str]) -> None:
    for role in ("policy", "reward"):
        run = getattr(getattr(one.config, role, None), "run", None)
        if isinstance(run, str) and run.startswith("$") and run[1:] not in made:
            raise Conflict(f"the run {run[1:]!r} that this sweep made was deleted, so nothing can be built on it")


def yardstick(config: RunConfig) -> str:
    """Equal for runs whose evaluations measure the same reward on the same prompts in the same way."""
    measured = list(yardsticks.yardstick(config.model_dump(mode="json")).values())
    return hashlib.sha256(json.dumps(measured, sort_keys=True).encode()).hexdigest()


def cancel(session: Session, sweep: Sweep) -> int:
    """Stop every run of the sweep that has not ended, its parents included. Returns how many were asked to stop."""
    return many_runs.cancel(session, many_runs.locked(session, _numbers(sweep)), "its sweep was cancelled")


def resume(session: Session, sweep: Sweep, *, stopped_early: bool = False) -> tuple[int, list[Skipped]]:
    """Take every failed or cancelled run up again, its parents first. Runs stopped early stay, unless they are asked for.

    Raises Conflict where the sweep is being deleted.
    """
    _check_stays(sweep)
    given_up = _numbers(sweep).where(SweepMember.stopped.is_not(None))
    hopeless = set() if stopped_early else set(session.scalars(given_up))
    found = many_runs.locked(session, _numbers(sweep))
    changed, refused = many_runs.resume(
        session, found, hopeless, "it was stopped early: resume it by itself, or ask with stopped_early=true"
    )
    # A sweep's runs are made in the order of their positions.
    return changed, [Skipped(id=run.uid, name=run.name, reason=refused[run.id]) for run in found if run.id in refused]


def _numbers(sweep: Sweep) -> Select[int]:
    return select(SweepMember.run_id).where(SweepMember.sweep_id == sweep.id)


def _check_stays(sweep: Sweep) -> None:
    if sweep.deleting_at is not None:
        raise Conflict(f"sweep {sweep.name!r} is being deleted: make a new one")


def begin_to_delete(session: Session, sweep: Sweep) -> None:
    """Say whether a sweep may be deleted as a whole, and see to it that no worker takes one of its runs any more, nobody takes one
    up again, and nobody builds on one.

    Raises Conflict while a worker has one, StateConflict where another run builds on one: then nothing is changed.
    """
    found = many_runs.locked(session, _numbers(sweep), to_delete=True)
    busy = sum(run.state in OWNED for run in found)
    if busy:
        raise Conflict(
            f"{busy} run{'s' if busy > 1 else ''} of sweep {sweep.name!r} are being trained: cancel the sweep first"
        )
    many_runs.check_unneeded(session, found)
    many_runs.cancel(session, found, "its sweep was deleted")
    lineage.part(session, [run.id for run in found])
    session.execute(sql_update(Sweep).where(Sweep.id == sweep.id).values(deleting_at=NOW))


def delete_some(session: Session, sweep: Sweep) -> list[str]:
    """Forget some of a sweep's runs, the last first, with everything recorded about them; where none is left, the sweep. To be called
    until nothing comes back, each time in a transaction of its own: what a thousand runs have recorded takes long to delete.

    Returns the ids of the runs, whose folders are the caller's to remove.
    """
    last = _numbers(sweep).order_by(SweepMember.position.desc()).limit(_DELETED_AT_ONCE)
    found = many_runs.locked(session, session.scalars(last).all(), to_delete=True)
    if not found:
        session.execute(sql_delete(Sweep).where(Sweep.id == sweep.id))
        return []
    many_runs.delete(session, found)
    session.execute(sql_update(Sweep).where(Sweep.id == sweep.id).values(deleting_at=NOW))
    return [run.uid for run in found]


def etag(sweep: Sweep) -> str:
    """Changes when somebody edits or extends the sweep, not when its runs get on."""
    return tag_of(sweep.name, sweep.notes, sweep.early_stop, sweep.spec)


def update(session: Session, sweep: Sweep, changes: SweepPatch) -> None:
    """Change what the request names."""
    named = changes.model_fields_set
    if changes.name is not None:
        sweep.name = changes.name
    if changes.notes is not None:
        sweep.notes = changes.notes
    if "early_stop" in named:
        sweep.early_stop = changes.early_stop.model_dump(mode="json") if changes.early_stop else None
    session.flush()
