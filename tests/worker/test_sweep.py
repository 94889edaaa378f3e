"""A queued sweep on real workers: what its runs have in common is computed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from backend import sweep_plan, sweep_views, sweeps
from backend.models import Run
from backend.models_sweeps import SweepMember
from backend.schemas.sweeps import SweepCreate
from tests.worker.stack import Stack

CONFIG: dict[str, Any] = {
    "algorithm": "copg",
    "policy": {"kind": "preset", "size": "nano"},
    "data": {"kind": "task", "train_size": 32, "validation_size": 8},
    "reward": {"kind": "gold"},
    "batch_size": 8,
    "steps": 3,
    "evaluation": {"every": 3, "prompts": 4, "generation": {"max_new_tokens": 4}},
}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_reference_and_rewards_are_computed_once(tmp_path: Path, sqlite_url: str) -> None:
    stack = Stack(tmp_path, sqlite_url)
    try:
        request = SweepCreate(config=CONFIG, grid={"beta": [0.1, 1.0]}, entries=[{"algorithm": "dpo"}])
        planned = sweep_plan.plan(request)
        with stack.database.transaction() as session:
            sweep = sweeps.create(session, request, planned, queue=stack.settings.queue)
        stack.worker()
        stack.worker()  # two runs begin at the same time: one of them computes, the other waits for it
        stack.reconciler.wake()
        with stack.database.snapshot() as session:
            members = session.scalars(select(Run).join(SweepMember).where(SweepMember.sweep_id == sweep.id)).all()
        shared = [stack.ended(run).report["pairs"] for run in members]
        for what in ("reference_from_cache", "rewards_from_cache"):
            assert sorted(pairs[what] for pairs in shared) == [False, True, True], what
        with stack.database.snapshot() as session:
            seen = sweep_views.detail(session, sweep, stack.settings)
        assert (seen.total, seen.states["succeeded"], seen.active, seen.steps_done) == (3, 3, False, 9)
        assert seen.best is not None
        assert seen.best.of == 3
        assert seen.device_seconds > 0
    finally:
        stack.close()
