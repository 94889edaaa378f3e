"""Sweeps: preview, launch, look at, steer and extend many runs as one."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from fastapi import APIRouter, Query, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend import dispatch, idempotency, sweep_deletion, sweep_plan, sweep_views, sweeps
from backend.data_checks import DataChecks
from backend.early_stop import EarlyStop
from backend.errors import Conflict
from backend.models_sweeps import Sweep
from backend.preconditions import IfMatch, check
from backend.routes.context import Context, DryRun, IdempotencyKey, Studio
from backend.routes.paging import pack, unpack_numbers
from backend.schemas.sweeps import (
    MemberList,
    PlannedMember,
    Skipped,
    SweepChange,
    SweepCreate,
    SweepExtend,
    SweepForm,
    SweepList,
    SweepMade,
    SweepOut,
    SweepPatch,
    SweepPreview,
    SweepSpec,
)
from backend.sweep_estimates import sweep_estimates
from backend.sweep_names import name_of, varying
from backend.sweep_plan import Plan, PlannedRun

router = APIRouter(prefix="/sweeps", tags=["sweeps"])

_SHOWN = 200  # members of a preview
_EXTENSIONS = "sweep extensions"


def _plan(context: Studio, spec: SweepSpec) -> Plan:
    return sweep_plan.plan(spec, DataChecks.of(context.database, context.settings))


@router.post("/preview", response_model=SweepPreview)
def preview_sweep(body: SweepCreate, context: Context) -> SweepPreview:
    """The runs that a sweep would make and what they would take. The same checks as launching it; nothing is stored."""
    planned = _plan(context, body)
    with context.database.snapshot() as session:
        sweep_plan.check_references(session, planned.runs)
        estimates = sweep_estimates(session, planned, context.settings)
        obstacle = dispatch.obstacle(session, context.settings, body.gpus)
    differing = varying(one.overrides for one in planned.members)

    def shown(one: PlannedRun) -> PlannedMember:
        return PlannedMember(
            name=one.parent or name_of(one.config, one.overrides, differing), algorithm=one.config.algorithm,
            base=one.base, overrides=one.overrides, parent=one.parent,
        )  # fmt: skip

    return SweepPreview(
        total=len(planned.members),
        duplicates=planned.duplicates,
        parents=[shown(one) for one in planned.parents],
        members=[shown(one) for one in planned.members[:_SHOWN]],
        estimates=estimates,
        obstacle=obstacle,
    )


@router.post("", status_code=201, response_model=SweepMade)
def create_sweep(body: SweepCreate, context: Context, response: Response, key: IdempotencyKey = None) -> SweepMade:
    """Queue all runs of a sweep, or none. Every run is checked before anything is stored; equal ones are made once."""
    planned = _plan(context, body)
    with context.database.transaction() as session:
        row, replayed = idempotency.once(
            session, "sweeps", key, body,
            make=lambda: _make(session, body, planned, context.settings.queue),
            find=lambda uid: session.scalar(select(Sweep).where(Sweep.uid == uid)),
        )  # fmt: skip
        created = sweep_views.detail(session, row, context.settings)
    if replayed:
        response.status_code = 200
    response.headers["Location"] = f"/api/v1/sweeps/{created.id}"
    context.wake()
    return SweepMade(**dict(created), duplicates=planned.duplicates)


def _make(session: Session, body: SweepCreate, planned: Plan, queue: str) -> Sweep:
    sweep_plan.check_references(session, planned.runs)
    return sweeps.create(session, body, planned, queue=queue)


@router.get("", response_model=SweepList)
def list_sweeps(
    context: Context,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> SweepList:
    """Sweeps with where they stand, newest first."""
    page = select(Sweep).order_by(Sweep.id.desc()).limit(limit + 1)
    if cursor is not None:
        [last] = unpack_numbers(cursor, 1)
        page = page.where(Sweep.id < last)
    with context.database.snapshot() as session:
        found = list(session.scalars(page))
        more, found = len(found) > limit, found[:limit]
        items = sweep_views.summaries(session, found, context.settings)
    return SweepList(items=items, next_cursor=pack(found[-1].id) if more else None)


@router.get("/form", response_model=SweepForm)
def get_sweep_form() -> SweepForm:
    """The fields of an early stop, with their titles, descriptions, limits and defaults."""
    return SweepForm(
        early_stop_schema=EarlyStop.model_json_schema(), early_stop_defaults=EarlyStop().model_dump(mode="json")
    )


@router.get("/{sweep_id}", response_model=SweepOut)
def get_sweep(sweep_id: str, context: Context, response: Response) -> SweepOut:
    """One sweep: states, progress, cost, remaining time, the best runs, and what it was made of."""
    with context.database.snapshot() as session:
        sweep = sweeps.get(session, sweep_id)
        response.headers["ETag"] = sweeps.etag(sweep)
        return sweep_views.detail(session, sweep, context.settings)


@router.get("/{sweep_id}/members", response_model=MemberList)
def list_sweep_members(
    sweep_id: str,
    context: Context,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 200,
) -> MemberList:
    """The runs of a sweep in the order of their making, each with its own values and its last evaluation."""
    after = None if cursor is None else unpack_numbers(cursor, 1)[0]
    with context.database.snapshot() as session:
        found, last = sweep_views.members(session, sweeps.get(session, sweep_id), after, limit)
    return found.model_copy(update={"next_cursor": None if last is None else pack(last)})


@router.patch("/{sweep_id}", response_model=SweepOut)
def update_sweep(
    sweep_id: str, body: SweepPatch, context: Context, response: Response, if_match: IfMatch = None
) -> SweepOut:
    """Change name, notes or early stop; what is not named stays. With If-Match only where nobody edited it since."""
    with context.database.transaction() as session:
        sweep = sweeps.get(session, sweep_id, lock=True)
        check(if_match, sweeps.etag(sweep), f"sweep {sweep.name!r}")
        sweeps.update(session, sweep, body)
        response.headers["ETag"] = sweeps.etag(sweep)
        return sweep_views.detail(session, sweep, context.settings)


@router.delete("/{sweep_id}", status_code=204)
def delete_sweep(sweep_id: str, context: Context, dry_run: DryRun = False) -> None:
    """Delete a sweep with its runs and their files. Refused while one is being trained, or where other runs build on one."""
    with context.database.transaction(rehearsed=dry_run) as session:
        sweeps.begin_to_delete(session, sweeps.get(session, sweep_id, lock=True))
    while not dry_run and sweep_deletion.go_on(context.database, context.settings, sweep_id):
        pass


@router.post("/{sweep_id}/cancel", response_model=SweepChange)
def cancel_sweep(sweep_id: str, context: Context) -> SweepChange:
    """Stop every run that has not ended. One that is being trained writes a checkpoint first."""
    with context.database.transaction() as session:
        changed = sweeps.cancel(session, sweeps.get(session, sweep_id, lock=True))
    context.wake()
    return _changed(context, sweep_id, changed, [])


@router.post("/{sweep_id}/resume", response_model=SweepChange)
def resume_sweep(
    sweep_id: str,
    context: Context,
    stopped_early: Annotated[bool, Query(description="Also the runs that were stopped early.")] = False,
) -> SweepChange:
    """Queue every failed or cancelled run again, each from its last checkpoint. Runs that cannot go on are told apart."""
    with context.database.transaction() as session:
        sweep = sweeps.get(session, sweep_id, lock=True)
        changed, skipped = sweeps.resume(session, sweep, stopped_early=stopped_early)
    context.wake()
    return _changed(context, sweep_id, changed, skipped)


def _changed(context: Studio, sweep_id: str, changed: int, skipped: list[Skipped]) -> SweepChange:
    """The answer, with the sweep as it is after the commit: to describe a thousand runs takes longer than to move them."""
    with context.database.snapshot() as session:
        shown = sweep_views.detail(session, sweeps.get(session, sweep_id), context.settings)
    return SweepChange(changed=changed, skipped=skipped, sweep=shown)


class _Extension(NamedTuple):
    """What one request added to a sweep."""

    sweep: Sweep
    changed: int

    @property
    def uid(self) -> str:
        return f"{self.sweep.uid} {self.changed}"

    @classmethod
    def of(cls, sweep: Sweep, uid: str) -> _Extension:
        return cls(sweep, int(uid.split()[1]))


def _extended(session: Session, extension: _Extension, context: Studio) -> SweepChange:
    shown = sweep_views.detail(session, extension.sweep, context.settings)
    return SweepChange(changed=extension.changed, skipped=[], sweep=shown)


@router.post("/{sweep_id}/extend", response_model=SweepChange)
def extend_sweep(sweep_id: str, body: SweepExtend, context: Context, key: IdempotencyKey = None) -> SweepChange:
    """Add values, entries or bases. Only combinations that the sweep was not asked for before are made."""
    with context.database.snapshot() as session:
        sweep = sweeps.get(session, sweep_id)
        before, asked = sweeps.spec_of(sweep), f"{sweep.uid} {idempotency.fingerprint(body)}"
        if (made := idempotency.earlier(session, _EXTENSIONS, key, asked)) is not None:
            return _extended(session, _Extension.of(sweep, made), context)
    # Plans read data files, so they are made outside of the transaction.
    wider = sweeps.extended(before, body)
    data = DataChecks.of(context.database, context.settings)
    planned, known = sweep_plan.plan(wider, data), {one.hash for one in sweep_plan.plan(before, data).members}
    with context.database.transaction() as session:
        sweep = sweeps.get(session, sweep_id, lock=True)

        def make() -> _Extension:
            if sweeps.spec_of(sweep) != before:
                raise Conflict("somebody extended this sweep at the same moment: try again")
            sweep_plan.check_references(session, [one for one in planned.members if one.hash not in known])
            return _Extension(sweep, sweeps.extend(session, sweep, wider, planned, known, queue=context.settings.queue))

        extension, _ = idempotency.once(
            session, _EXTENSIONS, key, asked, make=make, find=lambda uid: _Extension.of(sweep, uid)
        )
        answer = _extended(session, extension, context)
    context.wake()
    return answer
