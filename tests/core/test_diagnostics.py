"""What a run says about itself: each figure against a calculation by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from copg_core import diagnostics
from copg_core.diagnostics import TimeSpent, truncated_share
from copg_core.evaluate import kl_estimates
from copg_core.layout import lay_out
from copg_core.logprobs import CodePath, CompletionLogProbs, Tempered
from copg_core.objectives import Table, cosine
from copg_core.train import train
from tests.core.conftest import ROWS, Remembering, config_of, tiny_llama


def test_truncated_share_counts_completions_without_an_end_token() -> None:
    """Of rows 0 and 2: [..2] ends, [..2] ends, [2] ends, [..26] does not; 26 may be an end token, too."""
    assert truncated_share(Table(ROWS), [0, 2], frozenset({2})) == 1 / 4
    assert truncated_share(Table(ROWS), [0, 2], frozenset({2, 26})) == 0


def test_k1_and_k3_are_unbiased_on_the_policys_own_samples_and_k2_is_not() -> None:
    """Two outcomes, pi = (0.8, 0.2), pi_ref = (0.5, 0.5): expectations over pi against the divergence itself."""
    policy, log_ratio = np.array([0.8, 0.2]), np.log(np.array([0.8, 0.2]) / 0.5)
    divergence = float(policy @ log_ratio)
    each = [kl_estimates(np.array([one])) for one in log_ratio]
    k2 = sum(p * one["kl_k2"] for p, one in zip(policy, each, strict=True))
    k3 = sum(p * one["kl_k3"] for p, one in zip(policy, each, strict=True))
    assert k3 == pytest.approx(divergence, rel=1e-12)
    assert k2 == pytest.approx(0.8 * log_ratio[0] ** 2 / 2 + 0.2 * log_ratio[1] ** 2 / 2)
    assert abs(k2 - divergence) > 0.01
    # Of samples of the reference, k3 is no estimate of KL(pi || pi_ref): off by a tenth here.
    offline = sum(0.5 * one["kl_k3"] for one in each)
    assert abs(offline - divergence) > 0.01
    assert kl_estimates(np.array([-800.0, 0.0]))["kl_k3"] is None


def test_alignment_is_the_cosine_of_the_contrasts_whatever_their_scale() -> None:
    """dR = (1, -2, 0), dh = (2, -4, 3): 10 / sqrt(5 * 29). Its square is what the best multiple of dh explains."""
    reward, policy = np.array([1.0, -2.0, 0.0]), np.array([2.0, -4.0, 3.0])
    expected = 10 / math.sqrt(5 * 29)
    assert cosine(reward, policy) == pytest.approx(expected)
    assert cosine(7 * reward, policy / 3) == pytest.approx(expected)
    best = (reward @ policy) / (policy @ policy)
    assert 1 - ((reward - best * policy) ** 2).mean() / (reward**2).mean() == pytest.approx(expected**2)
    assert cosine(reward, 1e-5 * policy) == 0.0, "rounding points nowhere"
    assert cosine(0 * reward, policy) == 0.0


@pytest.mark.parametrize("chunked", [True, False])
def test_log_probs_at_a_temperature_are_those_of_scaled_logits(chunked: bool) -> None:
    model = tiny_llama()
    path = CodePath(packed=True, chunked=chunked)
    rows = lay_out(ROWS, packed=True, pad=0)
    with torch.no_grad():
        cooled = Tempered(CompletionLogProbs(model, path), 0.7)(rows)
        for row, values in zip(ROWS, cooled, strict=True):
            for completion, value in zip(row.completions, values.tolist(), strict=True):
                ids = torch.tensor([row.prompt + completion])
                logits = model(input_ids=ids).logits[0, len(row.prompt) - 1 : -1].double() / 0.7
                expected = logits.log_softmax(-1)[torch.arange(len(completion)), torch.tensor(completion)].sum()
                assert value == pytest.approx(float(expected), abs=1e-4)


def evaluate_at(temperature: float, folder: Path) -> Any:
    generation = {"max_new_tokens": 6, "temperature": temperature}
    evaluation = {"every": 3, "prompts": 8, "generation": generation}
    recorder = Remembering()
    train(config_of("copg", steps=3, evaluation=evaluation), recorder, folder=folder)
    return recorder.of("evaluation")


def test_kl_is_measured_at_the_sampling_temperature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[float] = []

    class Spy(Tempered):
        def __init__(self, log_probs: torch.nn.Module, temperature: float) -> None:
            super().__init__(log_probs, temperature)
            used.append(temperature)

    monkeypatch.setattr("copg_core.evaluate.Tempered", Spy)
    start, end = evaluate_at(0.5, tmp_path / "cool")
    assert used == [0.5] * 4, "policy and reference, twice"
    assert start.kl == pytest.approx(0, abs=1e-4)
    assert end.values["kl_k2"] == pytest.approx(np.mean([s.kl**2 / 2 for s in end.samples]))
    used.clear()
    _, greedy = evaluate_at(0, tmp_path / "greedy")
    assert not used
    assert greedy.kl is not None
    assert not {"kl_k2", "kl_k3"} & set(greedy.values), "greedy completions estimate no KL"


def test_flop_utilisation_is_the_models_work_over_the_peak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Remembering()
    monkeypatch.setattr(diagnostics, "_peak", lambda device, dtype, processes: 1e12)
    train(config_of("sft", steps=1), recorder, folder=tmp_path)
    step = recorder.of("metrics")[0].values
    parameters = recorder.report("model")["parameters"]
    # Every matrix is in a layer, in the embedding (no work) or its equal the head (completion tokens alone): two
    # to six FLOPs a parameter and token once attention is added, which short rows make a small part.
    work = step["flop_utilisation"] * 1e12 / step["tokens_per_second"]
    assert 2 * parameters < work < 7 * parameters


def test_padding_is_what_the_longest_row_of_each_micro_batch_leaves(tmp_path: Path) -> None:
    """Alone every row is as wide as it is; together they share the width of the longest."""
    shares = []
    for budget in (16, 100_000):
        recorder = Remembering()
        folder = tmp_path / str(budget)
        train(config_of("dpo", steps=1, micro_batch_tokens=budget), recorder, folder=folder)
        shares.append(recorder.of("metrics")[0].values["padding_share"])
    assert shares[0] == 0
    assert 0 < shares[1] < 0.9


def test_time_is_split_by_stage_and_the_share_of_evaluations_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 1.0, 4.0, 6.0, 7.0, 7.0, 7.0])
    monkeypatch.setattr(diagnostics.time, "monotonic", lambda: next(clock))
    spent = TimeSpent()
    for stage in ("reference", "training", "training", "evaluating"):
        spent.enter(stage)
    assert spent.report().values == {
        "reference_seconds": 3.0,
        "training_seconds": 2.0,
        "evaluating_seconds": 1.0,
        "evaluation_share": round(1 / 6, 4),
    }
    monkeypatch.undo()
    recorder = Remembering()
    train(config_of("dpo", steps=3), recorder, folder=tmp_path)
    reports = [event.values for event in recorder.of("report") if event.section == "time"]
    assert len(reports) == 3, "after both evaluations and at the end"
    stages = {"loading", "encoding", "reference", "rewards", "training", "evaluating", "saving"}
    assert {f"{stage}_seconds" for stage in stages} | {"evaluation_share"} == set(reports[-1])
    assert 0 < reports[-1]["evaluation_share"] < 1
