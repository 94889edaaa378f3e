"""Faults of the worker itself: no number poisons a shipment, and no odd exception keeps a run until its lease runs out."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from backend import claims
from backend.models import MetricPoint, Run, RunEvent
from copg_core.events import Metrics, Started
from tests.worker.conftest import Bench
from tests.worker.test_supervisor import ready
from worker import supervisor
from worker.persist import Shipper


@pytest.mark.parametrize("number", [2**31, 10**30])
def test_a_number_that_no_column_holds_costs_its_event_and_no_other(bench: Bench, number: int) -> None:
    run = bench.new()
    with bench.database.transaction() as session:
        claim = claims.claim(session, run.uid, "w", 60)
    assert claim is not None
    shipper = Shipper(bench.database, claim.run_id, claim.fence, 60)
    shipper.pending += [Started(step=0, total_steps=number), Metrics(step=1, values={"loss": 0.5})]
    assert shipper.ship() is False
    assert shipper.pending == []
    with bench.database.snapshot() as session:
        assert session.scalars(select(MetricPoint.value).where(MetricPoint.run_id == run.id)).all() == [0.5]


def test_a_fault_ends_the_attempt_at_once_and_the_next_one_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect = supervisor.Supervisor._collect
    faults = [RuntimeError("no such thing\nat all")]

    def odd(self: supervisor.Supervisor) -> None:
        collect(self)
        if faults and self._reader._offset:
            raise faults.pop()

    monkeypatch.setattr(supervisor.Supervisor, "_collect", odd)
    run = bench.execute(bench.new(20))
    assert (run.state, run.attempt, run.lease_until) == ("queued", 1, None)
    assert run.not_before is not None
    with bench.database.snapshot() as session:
        told = session.scalars(select(RunEvent.reason).where(RunEvent.run_id == run.id)).all()
    assert any("its worker failed: no such thing" in (reason or "") for reason in told)
    ready(bench.database, run)
    assert bench.execute(run).state == "succeeded"


def test_faults_in_every_attempt_end_the_run_with_the_last_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def odd(_: supervisor.Supervisor) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(supervisor.Supervisor, "_recover", odd)
    run: Run = bench.new(20)
    for _ in range(run.max_attempts):
        ready(bench.database, run)
        run = bench.execute(run)
    assert (run.state, run.error_kind) == ("failed", "worker")
    assert "no such thing" in (run.error or "")
    assert "resume" in (run.error or "")


def test_a_fault_after_the_end_leaves_what_is_decided(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def odd(_: supervisor.Supervisor) -> None:
        raise RuntimeError("the log cannot be kept")

    monkeypatch.setattr(supervisor.Supervisor, "_leave_behind", odd)
    assert bench.execute(bench.new(20)).state == "succeeded"
