"""A sweep pays for its reference and its rewards once, however many runs it has."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from copg_core.layout import Rows
from copg_core.logprobs import CompletionLogProbs
from copg_core.prepare import prepare
from copg_core.processes import Processes
from copg_core.reference import Table, cached
from copg_core.rewards.models import GoldScorer
from copg_core.surroundings import Surroundings
from tests.core.conftest import config_of

BETAS = (0.01, 0.03, 0.06, 0.1, 0.3, 1.0)
ALGORITHMS = ("copg", "dpo", "ipo")


def test_six_betas_of_three_algorithms_compute_reference_and_rewards_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: Counter[str] = Counter()
    forward, score = CompletionLogProbs.forward, GoldScorer.score

    def counted_forward(self: CompletionLogProbs, rows: Rows) -> torch.Tensor:
        counts["reference rows"] += len(rows.last)
        return forward(self, rows)

    def counted_score(self: GoldScorer, prompts: Any, *rest: Any, **named: Any) -> Any:
        counts["scored completions"] += len(prompts)
        return score(self, prompts, *rest, **named)

    monkeypatch.setattr(CompletionLogProbs, "forward", counted_forward)
    monkeypatch.setattr(GoldScorer, "score", counted_score)
    starts = []
    for algorithm in ALGORITHMS:
        for beta in BETAS:
            config = config_of(algorithm, beta=beta)
            prepared = prepare(config, Surroundings(Processes(torch.device("cpu")), Path, tmp_path))
            report = next(report.values for report in prepared.reports if report.section == "pairs")
            starts.append((report["reference_from_cache"], report["rewards_from_cache"]))
    # 48 training pairs and 8 held-out ones, both completions of each.
    assert counts == {"reference rows": 48 + 8, "scored completions": 2 * (48 + 8)}
    assert starts == [(False, False)] + [(True, True)] * (len(BETAS) * len(ALGORITHMS) - 1)


def test_of_runs_that_start_together_one_computes_and_the_others_wait(tmp_path: Path) -> None:
    computed, started, found = [], threading.Event(), {}
    finish = threading.Event()

    def compute(number: int) -> Table:
        computed.append(number)
        started.set()
        assert finish.wait(20)
        return np.full((2, 2), float(number))

    def run(number: int, waiting: Any = lambda: None) -> None:
        found[number] = cached(tmp_path / "cache", "rewards", "k" * 64, (2, 2), lambda: compute(number), None, waiting)

    first = threading.Thread(target=run, args=(1,))
    first.start()
    assert started.wait(20)
    second = threading.Thread(target=run, args=(2, finish.set))  # waits, says so, and so lets the first one finish
    second.start()
    for thread in (first, second):
        thread.join(20)
    assert computed == [1]
    assert [hit for _, hit in (found[1], found[2])] == [False, True]
    np.testing.assert_array_equal(found[2][0], 1.0)


def test_a_run_that_waits_can_be_stopped_and_a_failed_one_leaves_the_way_free(tmp_path: Path) -> None:
    def fails() -> Table:
        with pytest.raises(KeyboardInterrupt):
            cached(tmp_path, "rewards", "k" * 64, (1, 1), lambda: np.ones((1, 1)), None, stop)
        raise ZeroDivisionError

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(ZeroDivisionError):
        cached(tmp_path, "rewards", "k" * 64, (1, 1), fails)
    assert cached(tmp_path, "rewards", "k" * 64, (1, 1), lambda: np.ones((1, 1)), None, stop)[1] is False


def test_nobody_waits_for_a_killed_run(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from pathlib import Path
from copg_core.reference import cached
cached(Path(sys.argv[1]), "rewards", "k" * 64, (1, 1), lambda: os.kill(os.getpid(), signal.SIGKILL))
"""
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False).returncode == -9
    assert list(tmp_path.glob("*.lock"))
    table, hit = cached(tmp_path, "rewards", "k" * 64, (1, 1), lambda: np.ones((1, 1)), None, pytest.fail)
    assert (float(table[0, 0]), hit) == (1.0, False)
