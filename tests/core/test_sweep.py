"""A sweep pays for its reference and its rewards once, however many runs it has."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from copg_core.layout import Rows
from copg_core.logprobs import CompletionLogProbs
from copg_core.prepare import prepare
from copg_core.processes import Processes
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
