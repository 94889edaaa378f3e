"""A trial through a real child: the worker brings policies and what their KL is measured to."""

from __future__ import annotations

import shutil
from pathlib import Path

from sqlalchemy import select, update

from backend import runs, trials
from backend.models import Evaluation, Run, Sample
from backend.schemas.trials import TrialCreate
from backend.states import RunState
from copg_core.config import CopgConfig, RunConfig, SFTConfig
from copg_core.policies import load_policy, save_policy
from copg_core.sources import PresetModel, RunModel, TaskData
from tests.worker.conftest import Bench


def finished(bench: Bench, config: RunConfig, output: Path, seed: int) -> str:
    """A run whose policy is a new model of this seed."""
    save_policy(output, load_policy(PresetModel(size="nano"), TaskData(), seed=seed), {})
    with bench.database.transaction() as session:
        uid = runs.create(session, config).uid
        ended = {"state": RunState.SUCCEEDED.value, "output_path": str(output)}
        session.execute(update(Run).where(Run.uid == uid).values(ended))
    return uid


def test_kl_is_measured_to_the_run_that_it_started_from(bench: Bench, tmp_path: Path) -> None:
    start = finished(bench, SFTConfig(), tmp_path / "start", 1)
    config = CopgConfig(policy=RunModel(run=start))
    still, moved = (finished(bench, config, tmp_path / f"seed {seed}", seed) for seed in (1, 2))

    def answers(*uids: str) -> tuple[Run, list[float | None], list[list[float | None]]]:
        request = TrialCreate(runs=list(uids), prompt="my boss", completions=2, max_new_tokens=6)
        with bench.database.transaction() as session:
            trial = trials.create(session, request)
        bench.host().execute(trial.uid)
        with bench.database.snapshot() as session:
            row = trials.get(session, trial.uid)
            means = session.scalars(select(Evaluation.kl).where(Evaluation.run_id == row.id).order_by(Evaluation.step))
            samples = select(Sample.kl).where(Sample.run_id == row.id).order_by(Sample.prompt_index)
            each = [list(session.scalars(samples.where(Sample.step == place))) for place in range(len(uids))]
            return row, list(means), each

    row, means, each = answers(start, still, moved)
    assert (row.state, row.error) == ("succeeded", None)
    assert means[:2] == [None, 0.0]  # SFT has no reference; what has learnt nothing is at its own
    assert each[:2] == [[None, None], [0.0, 0.0]]
    assert means[2] is not None
    assert all(one is not None and abs(one) > 0.001 for one in each[2])
    assert "without a reference" in row.report["policy.0"]["unmeasured"]

    shutil.rmtree(tmp_path / "start")
    row, means, each = answers(moved)
    assert (row.state, means, each) == ("succeeded", [None], [[None, None]])
    assert "is not the output of a finished run" in row.report["policy.0"]["unmeasured"]
