"""Parents and children. A run waits until all its parents have succeeded.

Beside the parents that its configuration names, a run may wait for others: role `after` until they have succeeded, role
`after_any` until they have ended in whatever way.

* A parent that fails or is cancelled cancels the runs that wait for it, and says so in their `error` (kind `parent`).
* Taking such a parent up again lets exactly those runs wait again: nobody has to launch the rest of a pipeline anew.
  A child that a person cancelled stays cancelled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, or_, select, update
from sqlalchemy.orm import Session, aliased

from backend.database import NOW
from backend.models import TRIAL, Run, RunParent
from backend.models_sweeps import Sweep, SweepMember
from backend.moves import move
from backend.run_errors import AwaitedError, ParentError
from backend.states import TERMINAL, RunState
from copg_core.config import RunConfig, parents

PARENT_KIND = "parent"
_POLICIES = frozenset({"sft", "copg", "dpo", "ipo", "policy_gradient"})
_ACCEPTED = {"policy": _POLICIES, "reward": frozenset({"reward_model"})}
AFTER, AFTER_ANY = "after", "after_any"
_NEVER = (RunState.FAILED, RunState.CANCELLED)
_AT_ONCE = 5000


def find_parents(session: Session, config: RunConfig) -> dict[str, Run]:
    """The runs that a configuration names, by role. A folder (a path with a slash) is no run and is left to training.

    Raises ParentError where one is unknown, of the wrong kind, or will not succeed.
    """
    found: dict[str, Run] = {}
    for role, uid in parents(config).items():
        if "/" not in uid:
            found[role] = find_parent(session, role, uid)
    return found


def find_parent(session: Session, role: str, uid: str) -> Run:
    """The run that a configuration names in this role. Raises ParentError as find_parents does."""
    parent = session.scalars(select(Run).where(Run.uid == uid, Run.algorithm != TRIAL)).one_or_none()
    if parent is None:
        raise ParentError(role, f"no run has the id {uid!r}: choose an existing run as {role.partition('.')[0]}")
    kind = role.partition(".")[0]
    if parent.algorithm not in _ACCEPTED[kind]:
        wanted = "a reward model" if kind == "reward" else "a policy (sft, copg, dpo, ipo or policy_gradient)"
        raise ParentError(role, f"run {parent.name!r} trains {parent.algorithm}, but {kind} must be {wanted}")
    if RunState(parent.state) in (*_NEVER, RunState.CANCELLING):
        raise ParentError(role, f"run {parent.name!r} is {parent.state}: resume it first, or choose another run")
    return parent


def find_awaited(session: Session, after: Sequence[str], after_any: Sequence[str]) -> dict[str, Run]:
    """The runs that a run waits for beside its parents, by role. Raises AwaitedError for one that is unknown or, where it
    has to succeed, will not."""
    found: dict[str, Run] = {}
    for kind, uids in ((AFTER, after), (AFTER_ANY, after_any)):
        for count, uid in enumerate(dict.fromkeys(uids)):
            awaited = session.scalars(select(Run).where(Run.uid == uid, Run.algorithm != TRIAL)).one_or_none()
            if awaited is None:
                raise AwaitedError(kind, f"no run has the id {uid!r}")
            if kind == AFTER and RunState(awaited.state) in (*_NEVER, RunState.CANCELLING):
                raise AwaitedError(kind, f"run {awaited.name!r} is {awaited.state}: resume it first, or leave it out")
            found[f"{kind}.{count}"] = awaited
    return found


def check_staying(session: Session, found: Mapping[str, Run]) -> None:
    """Raise ParentError or AwaitedError where a sweep that is being deleted takes one of these runs, by role, along.

    To be asked when the rows of `run_parent` stand: these keep the runs from a deletion that begins later.
    """
    going = leaving(session, [run.id for run in found.values()])
    for role, run in found.items():
        if run.id in going:
            why = f"run {run.name!r} is being deleted with its sweep {going[run.id]!r}: choose another run"
            raise ParentError(role, why) if is_parent(role) else AwaitedError(_kind(role), why)


def leaving(session: Session, run_ids: Collection[int]) -> dict[int, str]:
    """Which of these runs a sweep that is being deleted takes along, with the name of the sweep."""
    query = select(SweepMember.run_id, Sweep.name).join(Sweep, Sweep.id == SweepMember.sweep_id)
    rows = session.execute(query.where(SweepMember.run_id.in_(run_ids), Sweep.deleting_at.is_not(None)))
    return {row.run_id: row.name for row in rows}


def satisfied(role: str, state: str) -> bool:
    """Whether a run in this state no longer keeps the one waiting to which it is `role`."""
    return state == RunState.SUCCEEDED or (_kind(role) == AFTER_ANY and RunState(state) in TERMINAL)


def is_lost(role: str, state: str) -> bool:
    """Whether a run in this state never lets the one start to which it is `role`."""
    return _kind(role) != AFTER_ANY and RunState(state) in _NEVER


def is_parent(role: str) -> bool:
    """Whether the role is that of a run whose output is used, not only waited for."""
    return _kind(role) in _ACCEPTED


def _kind(role: str) -> str:
    return role.partition(".")[0]


def parents_of(session: Session, run_id: int) -> list[tuple[str, Run]]:
    """The runs that a run builds on or waits for, with their roles, as the database has them now."""
    query = select(RunParent.role, Run).join(Run, Run.id == RunParent.parent_id).where(RunParent.run_id == run_id)
    rows = session.execute(query.order_by(RunParent.role).execution_options(populate_existing=True)).all()
    return [(row.role, row.Run) for row in rows]


def release_waiting(session: Session) -> int:
    """Queue every waiting run whose parents all succeeded, cancel every one whose parent will not. Returns how many."""
    return _settle(session, None)


def settle_children(session: Session, parent_ids: Sequence[int]) -> int:
    """The same for the descendants of runs that have just ended, in the transaction in which they ended."""
    return _settle(session, parent_ids)


@cache
def _is_decided() -> ColumnElement[bool]:
    """Whether a run waits for nothing any more, as SQL: a sweep of a thousand runs that wait for one parent must not be
    looked at run by run in every turn of the loop, which holds SQLite's write lock."""
    above = aliased(Run)
    any_end = RunParent.role.like(f"{AFTER_ANY}.%")
    rows = select(RunParent.run_id).join(above, above.id == RunParent.parent_id).where(RunParent.run_id == Run.id)
    lost = rows.where(~any_end, above.state.in_([state.value for state in _NEVER]))
    ended = or_(above.state == RunState.SUCCEEDED.value, any_end & above.state.in_([state.value for state in TERMINAL]))
    return or_(exists(lost), ~exists(rows.where(~ended)))


def _settle(session: Session, parent_ids: Sequence[int] | None) -> int:
    total = 0
    while parent_ids is None or parent_ids:
        if parent_ids is not None and not _have_children(session, parent_ids):
            break
        # Locked in the order of their numbers, as everywhere: two who lock many never wait for each other.
        waiting = select(Run.id).where(Run.state == RunState.WAITING.value, _is_decided()).order_by(Run.id)
        waiting = waiting.with_for_update(key_share=True)
        if parent_ids is not None:
            waiting = waiting.where(Run.id.in_(select(RunParent.run_id).where(RunParent.parent_id.in_(parent_ids))))
        # What comes after the first so many is decided in the loop's next turns.
        ups = _ups(session, session.scalars(waiting.limit(_AT_ONCE)).all())
        lost: dict[str, list[int]] = defaultdict(list)
        ready: dict[str, list[int]] = defaultdict(list)
        for run_id, found in ups.items():
            first = next((up for up in found if is_lost(up.role, up.state)), None)
            if first is not None:
                what = "its parent run" if is_parent(first.role) else "the run before it,"
                end = "failed" if first.state == RunState.FAILED else "was cancelled"
                lost[f"{what} {first.name!r} {end}"].append(run_id)
            elif all(satisfied(up.role, up.state) for up in found):
                parents = all(is_parent(up.role) for up in found)
                ready["its parents have succeeded" if parents else "what it waited for has ended"].append(run_id)
        ended: list[int] = []
        for why, ids in lost.items():
            gone = move(
                session, [Run.id.in_(ids)], RunState.WAITING, RunState.CANCELLED, reason=why, actor="queue",
                error=why[0].upper() + why[1:] + ".", error_kind=PARENT_KIND, finished_at=NOW,
            )  # fmt: skip
            ended += [one.id for one in gone]
        for why, ids in ready.items():
            total += len(move(session, [Run.id.in_(ids)], RunState.WAITING, RunState.QUEUED, reason=why, actor="queue",
                              published_at=None, offered_to=None))  # fmt: skip
        total += len(ended)
        parent_ids = ended  # a cancelled child takes its own children with it
    return total


def _ups(session: Session, run_ids: Sequence[int]) -> dict[int, list[Any]]:
    """What each of these runs waits for, in the order of the roles."""
    query = (
        select(RunParent.run_id, RunParent.role, Run.name, Run.state)
        .join(Run, Run.id == RunParent.parent_id)
        .where(RunParent.run_id.in_(run_ids))
        .order_by(RunParent.role)
    )
    found: dict[int, list[Any]] = {run_id: [] for run_id in run_ids}
    if run_ids:
        for up in session.execute(query):
            found[up.run_id].append(up)
    return found


def _have_children(session: Session, parent_ids: Sequence[int]) -> bool:
    return session.scalar(select(RunParent.run_id).where(RunParent.parent_id.in_(parent_ids)).limit(1)) is not None


def revive_children(session: Session, parent_ids: Sequence[int]) -> None:
    """Let the runs that were cancelled because one of these did not succeed wait for it again, and theirs in turn."""
    above = aliased(Run)
    because = Run.error_kind == PARENT_KIND
    while parent_ids:
        children = session.execute(
            select(Run.id, above.name)
            .join(RunParent, RunParent.run_id == Run.id)
            .join(above, above.id == RunParent.parent_id)
            .where(
                RunParent.parent_id.in_(parent_ids),
                RunParent.role.not_like(f"{AFTER_ANY}.%"),
                Run.state == RunState.CANCELLED.value,
                because,
            )
            .order_by(Run.id, RunParent.role)
        ).all()
        by_name: dict[str, list[int]] = defaultdict(list)
        for run_id, name in {child.id: child.name for child in reversed(children)}.items():  # its first parent's name
            by_name[name].append(run_id)
        parent_ids = [
            one.id
            for name, ids in by_name.items()
            for begin in range(0, len(ids), _AT_ONCE)
            for one in move(
                session, [Run.id.in_(sorted(ids)[begin : begin + _AT_ONCE]), because], RunState.CANCELLED, RunState.WAITING,
                reason=f"its parent run {name!r} goes on", actor="queue", error=None, error_kind=None, finished_at=None,
            )
        ]  # fmt: skip


def part(session: Session, run_ids: Collection[int]) -> None:
    """Before these runs are deleted: revive none that was cancelled because of a parent, and let no other run wait for one again."""
    session.execute(delete(RunParent).where(RunParent.parent_id.in_(run_ids), RunParent.run_id.not_in(run_ids)))
    gone = update(Run).where(Run.id.in_(run_ids), Run.error_kind == PARENT_KIND).values(error_kind=None)
    session.execute(gone.execution_options(synchronize_session=False))
