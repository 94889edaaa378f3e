"""The negative control: a zombie's writes are refused, and without the fence they are accepted and the checks see it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, update

from backend import claims, runs
from backend.database import NOW, Database
from backend.models import Run, RunEvent
from backend.run_errors import LeaseLost
from backend.states import RunState
from copg_core.events import CheckpointSaved, Evaluation, Event
from tests.torture import recipes
from tests.torture.checks import history_problems
from tests.torture.recorded import differences, of_events, of_rows

MINE: list[Event] = [
    Evaluation(step=10, n=4, reward_mean=0.25),
    CheckpointSaved(step=10, path="/attempt-2/step-10", bytes=1),
]
ZOMBIES: list[Event] = [
    Evaluation(step=10, n=4, reward_mean=-7.0),
    Evaluation(step=20, n=4, reward_mean=-8.0),
    CheckpointSaved(step=20, path="/attempt-1/step-20", bytes=1),
]


def _lose_a_worker(database: Database) -> tuple[int, claims.Claim, claims.Claim]:
    """A run whose first worker froze past its lease and whose second one has it now."""
    with database.transaction() as session:
        run = runs.create(session, recipes.config("sft 0"), name="run")
        first = claims.claim(session, run.uid, "zombie", 60)
    with database.transaction() as session:
        session.execute(update(Run).values(lease_until=NOW - 1))
        assert claims.reap(session) == 1
        session.execute(update(Run).values(not_before=0.0))
    with database.transaction() as session:
        second = claims.claim(session, run.uid, "owner", 60)
    assert first is not None
    assert second is not None
    return run.id, first, second


def _write(database: Database, claim: claims.Claim, batch: list[Event]) -> None:
    with database.transaction() as session:
        claims.renew(session, claim.run_id, claim.fence, 60, batch)


def _end(database: Database, claim: claims.Claim, target: RunState) -> None:
    with database.transaction() as session:
        claims.finish(session, claim.run_id, claim.fence, target, "test")


def _problems(database: Database) -> list[str]:
    with database.snapshot() as session:
        run = session.scalars(select(Run)).one()
        history = session.scalars(select(RunEvent).order_by(RunEvent.id)).all()
        said = history_problems("run", run.state, history) + differences(of_events(MINE), of_rows(session, run))
        if run.checkpoint_path != "/attempt-2/step-10":
            said.append("the checkpoint is a zombie's")
        if run.state != "succeeded":
            said.append(f"the run is {run.state}")
    return said


def test_a_zombie_is_refused(database: Database) -> None:
    _, zombie, owner = _lose_a_worker(database)
    _write(database, owner, MINE)
    with pytest.raises(LeaseLost):
        _write(database, zombie, ZOMBIES)
    with pytest.raises(LeaseLost):
        _end(database, zombie, RunState.FAILED)
    _end(database, owner, RunState.SUCCEEDED)
    assert _problems(database) == []


def test_without_the_fence_a_zombie_is_accepted_and_the_checks_see_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, zombie, owner = _lose_a_worker(database)
    _write(database, owner, MINE)

    def nobody_asks(run_id: int, fence: int) -> list[Any]:
        return [Run.id == run_id]

    monkeypatch.setattr(claims, "_mine", nobody_asks)
    _write(database, zombie, ZOMBIES)
    _end(database, zombie, RunState.FAILED)
    with pytest.raises(LeaseLost):
        _end(database, owner, RunState.SUCCEEDED)
    said = " ".join(_problems(database))
    for words in ("evaluations too many", "evaluations unequal", "a zombie's", "is failed"):
        assert words in said
