"""Parents and children. A run waits until all its parents have succeeded.

* A parent that fails or is cancelled cancels the runs that wait for it, and says so in their `error` (kind `parent`).
* Taking such a parent up again lets exactly those runs wait again: nobody has to launch the rest of a pipeline anew.
  A child that a person cancelled stays cancelled.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.database import NOW
from backend.models import Run, RunParent
from backend.moves import move
from backend.run_errors import ParentError
from backend.states import RunState
from copg_core.config import RunConfig, parents

PARENT_KIND = "parent"
_POLICIES = frozenset({"sft", "copg", "dpo", "ipo", "policy_gradient"})
_ACCEPTED = {"policy": _POLICIES, "reward": frozenset({"reward_model"})}
_NEVER = (RunState.FAILED, RunState.CANCELLED)


def find_parents(session: Session, config: RunConfig) -> dict[str, Run]:
    """The runs that a configuration names, by role. A folder (a path with a slash) is no run and is left to training.

    Raises ParentError where one is unknown, of the wrong kind, or will not succeed.
    """
    found: dict[str, Run] = {}
    for role, uid in parents(config).items():
        if "/" in uid:
            continue
        parent = session.scalars(select(Run).where(Run.uid == uid)).one_or_none()
        if parent is None:
            raise ParentError(role, f"no run has the id {uid!r}: choose an existing run as {role.partition('.')[0]}")
        kind = role.partition(".")[0]
        if parent.algorithm not in _ACCEPTED[kind]:
            wanted = "a reward model" if kind == "reward" else "a policy (sft, copg, dpo, ipo or policy_gradient)"
            raise ParentError(role, f"run {parent.name!r} trains {parent.algorithm}, but {kind} must be {wanted}")
        if RunState(parent.state) in (*_NEVER, RunState.CANCELLING):
            raise ParentError(role, f"run {parent.name!r} is {parent.state}: resume it first, or choose another run")
        found[role] = parent
    return found


def parents_of(session: Session, run_id: int) -> Sequence[Run]:
    """The runs that a run builds on, as the database has them now."""
    query = select(Run).where(Run.id.in_(select(RunParent.parent_id).where(RunParent.run_id == run_id)))
    return session.scalars(query.execution_options(populate_existing=True)).all()


def release_waiting(session: Session) -> int:
    """Queue every waiting run whose parents all succeeded, cancel every one whose parent will not. Returns how many."""
    return _settle(session, None)


def settle_children(session: Session, parent_ids: Sequence[int]) -> int:
    """The same for the descendants of runs that have just ended, in the transaction in which they ended."""
    return _settle(session, parent_ids)


def _settle(session: Session, parent_ids: Sequence[int] | None) -> int:
    total = 0
    while parent_ids is None or parent_ids:
        waiting = select(Run.id).where(Run.state == RunState.WAITING.value).order_by(Run.id)
        if parent_ids is not None:
            waiting = waiting.where(Run.id.in_(select(RunParent.run_id).where(RunParent.parent_id.in_(parent_ids))))
        ended: list[int] = []
        for run_id in session.scalars(waiting).all():
            ups = session.execute(
                select(Run.name, Run.state)
                .join(RunParent, RunParent.parent_id == Run.id)
                .where(RunParent.run_id == run_id)
                .order_by(RunParent.role)
            ).all()
            lost = next((up for up in ups if RunState(up.state) in _NEVER), None)
            mine = [Run.id == run_id]
            if lost is not None:
                why = f"its parent run {lost.name!r} {'failed' if lost.state == RunState.FAILED else 'was cancelled'}"
                gone = move(
                    session, mine, RunState.WAITING, RunState.CANCELLED, reason=why, actor="queue",
                    error=why[0].upper() + why[1:] + ".", error_kind=PARENT_KIND, finished_at=NOW,
                )  # fmt: skip
                ended += [one.id for one in gone]
            elif all(up.state == RunState.SUCCEEDED for up in ups):
                reason = "its parents have succeeded"
                moved = move(session, mine, RunState.WAITING, RunState.QUEUED, reason=reason, actor="queue",
                             published_at=None)  # fmt: skip
                total += len(moved)
        total += len(ended)
        parent_ids = ended  # a cancelled child takes its own children with it
    return total


def revive_children(session: Session, run: Run) -> None:
    """Let the runs that were cancelled because `run` did not succeed wait for it again, and theirs in turn."""
    for child in session.execute(
        select(Run.id, Run.uid)
        .join(RunParent, RunParent.run_id == Run.id)
        .where(RunParent.parent_id == run.id, Run.state == RunState.CANCELLED.value, Run.error_kind == PARENT_KIND)
        .distinct()
    ).all():
        moved = move(
            session, [Run.id == child.id], RunState.CANCELLED, RunState.WAITING,
            reason=f"its parent run {run.name!r} goes on", actor="queue", error=None, error_kind=None, finished_at=None,
        )  # fmt: skip
        if moved:
            revive_children(session, session.get_one(Run, child.id))
