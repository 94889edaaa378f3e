"""Any sequence of what people ask over REST and what workers do leaves every run's history whole.

After each step: only allowed moves, exactly one event for each of them, an end has its time, an owner its lease, a child never
waits for parents that are done or lost, a zombie's writes are refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select, update

from backend import claims, lineage
from backend.database import NOW, Database
from backend.main import create_app
from backend.models import Run, RunEvent, RunParent
from backend.run_errors import LeaseLost
from backend.settings import Settings
from backend.states import OWNED, TERMINAL, RunState, may_move
from copg_core import events
from tests.backend.studio_bench import API, LEASE, LOCAL, problem

S = RunState
ENDED = {S.FAILED, S.CANCELLED}


class RunMachine(RuleBasedStateMachine):
    """People and workers over one database. What a step must do to its own run is predicted from its state before."""

    client: TestClient
    database: Database

    runs = Bundle("runs")
    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.mine: list[str] = []
        self.fences: dict[str, int] = {}

    # -- what is there ------------------------------------------------------------------------------------------------

    def row(self, uid: str) -> Run | None:
        with self.database.snapshot() as session:
            return session.scalars(select(Run).where(Run.uid == uid)).one_or_none()

    def parents(self, run: Run) -> list[RunState]:
        with self.database.snapshot() as session:
            query = select(Run.state).join(RunParent, RunParent.parent_id == Run.id).where(RunParent.run_id == run.id)
            return [RunState(state) for state in session.scalars(query)]

    def is_parent(self, run: Run) -> bool:
        with self.database.snapshot() as session:
            return session.scalar(select(RunParent.run_id).where(RunParent.parent_id == run.id).limit(1)) is not None

    def post(self, uid: str, verb: str) -> Any:
        return self.client.post(f"{API}/runs/{uid}/{verb}")

    def expect(self, uid: str, state: RunState) -> None:
        run = self.row(uid)
        assert run is not None
        assert run.state == state
        assert self.client.get(f"{API}/runs/{uid}").json()["state"] == state

    # -- people -------------------------------------------------------------------------------------------------------

    @rule(target=runs)
    def launch(self) -> Any:
        return self._launch({})

    @rule(target=runs, parent=runs)
    def launch_child(self, parent: str) -> Any:
        return self._launch({"policy": {"kind": "run", "run": parent}}, parent)

    def _launch(self, config: dict[str, Any], parent: str | None = None) -> Any:
        before = None if parent is None else self.row(parent)
        answer = self.client.post(f"{API}/runs", json={"config": {"algorithm": "sft", **config}})
        if parent is not None and (before is None or RunState(before.state) in ENDED | {S.CANCELLING}):
            problem(answer, 422, "config.policy.run")
            return multiple()
        assert answer.status_code == 201, answer.text
        ready = before is None or before.state == S.SUCCEEDED
        assert answer.json()["state"] == (S.QUEUED if ready else S.WAITING)
        self.mine.append(answer.json()["id"])
        return answer.json()["id"]

    @rule(uid=runs)
    def cancel(self, uid: str) -> None:
        before = self.row(uid)
        answer = self.post(uid, "cancel")
        if before is None:
            problem(answer, 404)
        elif RunState(before.state) in TERMINAL:
            problem(answer, 409)
            self.expect(uid, RunState(before.state))
        else:
            assert answer.status_code == 200
            self.expect(uid, S.CANCELLING if RunState(before.state) in OWNED else S.CANCELLED)

    @rule(uid=runs, verb=st.sampled_from(["resume", "retry"]))
    def take_up_again(self, uid: str, verb: str) -> None:
        before = self.row(uid)
        answer = self.post(uid, verb)
        if before is None:
            problem(answer, 404)
            return
        parents = self.parents(before)
        diverged = verb == "resume" and before.state == S.FAILED and before.error_kind == "diverged"
        if before.state not in ENDED or diverged or any(state in ENDED | {S.CANCELLING} for state in parents):
            problem(answer, 409)
            self.expect(uid, RunState(before.state))
        else:
            assert answer.status_code == 200, answer.text
            self.expect(uid, S.QUEUED if all(state == S.SUCCEEDED for state in parents) else S.WAITING)
            after = self.row(uid)
            assert after is not None
            assert (after.fence > before.fence, after.attempt) == (verb == "retry", 0)

    @rule(uid=runs)
    def delete(self, uid: str) -> None:
        before = self.row(uid)
        answer = self.client.delete(f"{API}/runs/{uid}")
        if before is None:
            problem(answer, 404)
        elif RunState(before.state) in OWNED or self.is_parent(before):
            problem(answer, 409)
            self.expect(uid, RunState(before.state))
        else:
            assert answer.status_code == 204
            self.mine.remove(uid)

    @rule(uid=runs, body=st.fixed_dictionaries({}, optional={
        "name": st.text(max_size=5), "notes": st.just("seen"), "priority": st.integers(-1, 1),
        "tags": st.lists(st.sampled_from(["a", "b"]), max_size=2),
    }))  # fmt: skip
    def edit(self, uid: str, body: dict[str, Any]) -> None:
        before = self.row(uid)
        answer = self.client.patch(f"{API}/runs/{uid}", json=body)
        assert answer.status_code in (200, 404, 409, 422), answer.text
        after = self.row(uid)
        if before is not None and after is not None:
            assert (after.state, after.fence) == (before.state, before.fence)
            assert after.edited - before.edited in ((0, 1) if answer.status_code == 200 else (0,))

    # -- workers ------------------------------------------------------------------------------------------------------

    @rule(target=held, uid=runs)
    def claim(self, uid: str) -> Any:
        before = self.row(uid)
        with self.database.transaction() as session:
            won = claims.claim(session, uid, "worker", LEASE)
        assert (won is not None) == (before is not None and before.state == S.QUEUED)
        if won is None:
            return multiple()
        assert before is not None
        assert won.fence == before.fence + 1
        self.expect(uid, S.RUNNING)
        return won

    def owns(self, claim: claims.Claim) -> Run | None:
        run = self.row(claim.uid)
        return run if run is not None and run.fence == claim.fence and RunState(run.state) in OWNED else None

    def write(self, claim: claims.Claim, work: Callable[[Any], Any]) -> Any:
        """What `work` returns; a zombie must be refused and change nothing."""
        owned = self.owns(claim)
        before = self.row(claim.uid)
        try:
            with self.database.transaction() as session:
                done = work(session)
        except LeaseLost:
            assert owned is None
            after = self.row(claim.uid)
            assert (before and (before.rev, before.state)) == (after and (after.rev, after.state))
            return None
        assert owned is not None, "a zombie wrote"
        return done

    @rule(claim=held, step=st.integers(1, 9))
    def renew(self, claim: claims.Claim, step: int) -> None:
        owned = self.owns(claim)
        batch = [events.Metrics(step=step, values={"loss": 1.0})]
        stop = self.write(claim, lambda s: claims.renew(s, claim.run_id, claim.fence, LEASE, batch))
        if owned is not None:
            assert stop == (owned.state == S.CANCELLING)

    @rule(
        claim=consumes(held),
        end=st.sampled_from([S.SUCCEEDED, S.FAILED, S.CANCELLED, S.QUEUED]),
        diverged=st.booleans(),
    )
    def finish(self, claim: claims.Claim, end: RunState, diverged: bool) -> Any:
        owned = self.owns(claim)
        kind = "diverged" if diverged and end == S.FAILED else None
        reached = self.write(
            claim, lambda s: claims.finish(s, claim.run_id, claim.fence, end, "test", error_kind=kind)
        )  # fmt: skip
        if owned is not None:
            wanted = S.CANCELLED if owned.state == S.CANCELLING and end == S.QUEUED else end
            assert reached == wanted
            self.expect(claim.uid, wanted)

    @rule(target=held, claim=held)
    def lose(self, claim: claims.Claim) -> Any:
        """Its lease runs out and somebody reaps; the worker lives on as a zombie."""
        owned = self.owns(claim)
        with self.database.transaction() as session:
            late = update(Run).where(Run.uid == claim.uid, Run.fence == claim.fence, Run.lease_until.is_not(None))
            session.execute(late.values(lease_until=NOW - 1))
        with self.database.transaction() as session:
            claims.reap(session)
        with self.database.transaction() as session:
            session.execute(update(Run).where(Run.uid == claim.uid).values(not_before=0))  # nobody waits in a test
        if owned is not None:
            spent = owned.attempt >= owned.max_attempts
            self.expect(claim.uid, S.CANCELLED if owned.state == S.CANCELLING else S.FAILED if spent else S.QUEUED)
        return multiple()

    @rule()
    def reconcile(self) -> None:
        """Nothing waits for this: every move settles the children in its own transaction."""
        with self.database.transaction() as session:
            lineage.release_waiting(session)

    # -- always -------------------------------------------------------------------------------------------------------

    @invariant()
    def histories_are_whole(self) -> None:
        with self.database.snapshot() as session:
            runs = session.scalars(select(Run).where(Run.uid.in_(self.mine))).all()
            assert {run.uid for run in runs} == set(self.mine)
            for run in runs:
                told = session.execute(
                    select(RunEvent.origin, RunEvent.target, RunEvent.fence)
                    .where(RunEvent.run_id == run.id)
                    .order_by(RunEvent.id)
                ).all()
                assert told[0].origin is None
                assert told[-1].target == run.state
                for earlier, later in itertools.pairwise(told):
                    assert later.origin == earlier.target, "a move without an event, or an event without a move"
                    assert may_move(RunState(later.origin), RunState(later.target))
                    assert later.fence >= earlier.fence
                self._row_is_whole(run)

    def _row_is_whole(self, run: Run) -> None:
        state = RunState(run.state)
        assert (run.finished_at is not None) == (state in TERMINAL)
        assert (run.owner is not None) == (run.lease_until is not None) == (state in OWNED)
        assert run.fence >= self.fences.get(run.uid, 0)
        assert 0 <= run.attempt <= run.max_attempts
        self.fences[run.uid] = run.fence
        parents = self.parents(run)
        if state == S.WAITING:
            assert not any(parent in ENDED for parent in parents), "waits for a parent that will not succeed"
            assert not all(parent == S.SUCCEEDED for parent in parents), "waits for nothing"
        elif state == S.QUEUED or state in OWNED:
            assert all(parent == S.SUCCEEDED for parent in parents)


@pytest.mark.parametrize(("engine", "examples", "steps"), [("sqlite", 15, 25), ("postgres", 4, 20)])
def test_any_sequence(engine: str, examples: int, steps: int, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = str(request.getfixturevalue(f"{engine}_url"))
    # Without its lifespan the application has no reconcile loop: what happens is what the machine does.
    client = TestClient(create_app(Settings(data_dir=str(tmp_path), database_url=url)), LOCAL)
    database = Database(url)
    machine = type("Machine", (RunMachine,), {"client": client, "database": database})
    try:
        run_state_machine_as_test(machine, settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, derandomize=True, database=None,
            suppress_health_check=list(HealthCheck),
        ))  # fmt: skip
    finally:
        database.close()
        client.app.state.studio.database.close()  # type: ignore[attr-defined]
