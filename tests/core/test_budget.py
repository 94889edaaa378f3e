"""An out-of-memory costs time and nothing else: the same batch, loss and weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationMixin

from copg_core.budget import UNLIMITED, TokenBudget, TooLarge, is_out_of_memory
from copg_core.errors import CheckpointError, MemoryLimitError
from copg_core.layout import Rows
from copg_core.logprobs import CodePath, CompletionLogProbs
from copg_core.reference import log_probs_of
from tests.core.conftest import ROWS, Remembering, StopAfter, config_of, run, tiny_llama, weights

SETTINGS: dict[str, Any] = {"steps": 3, "evaluation": {"every": 50, "prompts": 2}}


class Small:
    """A device on which a pass with gradients fits only up to `tokens` (with padding); counts the passes that did not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tokens: int, *, scoring: bool = False) -> None:
        self.tokens, self.refused, honest = tokens, 0, CompletionLogProbs.forward

        def forward(module: CompletionLogProbs, rows: Rows) -> torch.Tensor:
            if torch.is_grad_enabled() != scoring and rows.input_ids.numel() > self.tokens:
                self.refused += 1
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return honest(module, rows)

        monkeypatch.setattr(CompletionLogProbs, "forward", forward)


def memory_reports(recorder: Remembering) -> list[dict[str, Any]]:
    return [event.values for event in recorder.of("report") if event.section == "out_of_memory"]


def test_a_batch_that_does_not_fit_is_computed_again_in_smaller_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roomy, first = run(config_of("copg", **SETTINGS), tmp_path / "roomy", cache_folder=tmp_path)
    device = Small(monkeypatch, tokens=130)
    tight, second = run(config_of("copg", **SETTINGS), tmp_path / "tight", cache_folder=tmp_path)
    reports = memory_reports(tight)
    assert device.refused == len(reports) >= 2
    assert [report["gradient_checkpointing_switched_on"] for report in reports] == [True] + [False] * (len(reports) - 1)
    budgets = [report["micro_batch_tokens"] for report in reports]
    assert budgets == sorted(budgets, reverse=True)
    for step, loss in roomy.losses().items():
        assert tight.losses()[step] == pytest.approx(loss, rel=1e-4, abs=1e-5)  # float32 noise of summed log-probs
    # To the last bit it is the run that had the smaller budget from the start.
    set_small, third = run(
        config_of("copg", micro_batch_tokens=budgets[-1], **SETTINGS), tmp_path / "set_small", cache_folder=tmp_path
    )
    assert device.refused == len(reports), "what was learnt did not hold"
    assert set_small.losses() == tight.losses()
    for name, tensor in weights(third).items():
        assert torch.equal(weights(second)[name], tensor)
        torch.testing.assert_close(weights(first)[name], tensor, rtol=0, atol=2e-4)


def test_a_single_row_that_does_not_fit_ends_the_run_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Small(monkeypatch, tokens=5)
    with pytest.raises(MemoryLimitError, match=r"single row.*gradient_checkpointing"):
        run(config_of("sft", gradient_checkpointing="off", **SETTINGS), tmp_path)


def test_the_middle_of_a_batch_may_fail_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients of the micro-batches before the failure must not count twice."""
    config = config_of("copg", micro_batch_tokens=160, gradient_checkpointing="off", **SETTINGS)
    calm, _ = run(config, tmp_path / "calm", cache_folder=tmp_path)
    passes, honest = [0], torch.autograd.backward

    def backward(*arguments: Any, **settings: Any) -> None:
        passes[0] += 1
        if passes[0] == 3:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        honest(*arguments, **settings)

    monkeypatch.setattr("copg_core.update.torch.autograd.backward", backward)
    shaken, _ = run(config, tmp_path / "shaken", cache_folder=tmp_path)
    assert len(memory_reports(shaken)) == 1
    assert shaken.losses() == pytest.approx(calm.losses(), rel=1e-4, abs=1e-5)
    monkeypatch.undo()
    learnt = memory_reports(shaken)[0]["micro_batch_tokens"]
    set_small, _ = run(
        config.model_copy(update={"micro_batch_tokens": learnt}), tmp_path / "set_small", cache_folder=tmp_path
    )
    assert set_small.losses() == shaken.losses()


def test_a_resumed_run_cuts_its_batches_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = Small(monkeypatch, tokens=130)
    whole, _ = run(config_of("copg", **SETTINGS), tmp_path / "whole")
    stop = StopAfter(2)
    run(config_of("copg", **SETTINGS), tmp_path / "cut", recorder=Remembering(stop.see), should_stop=stop)
    refused = device.refused
    resumed, _ = run(config_of("copg", **SETTINGS), tmp_path / "cut", resume_from=tmp_path / "cut/checkpoints/step-2")
    assert device.refused == refused
    assert resumed.losses() == {step: whole.losses()[step] for step in (3,)}


def test_scoring_without_gradients_recovers_and_gives_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    module = CompletionLogProbs(tiny_llama(), CodePath(packed=True, chunked=True))
    settings: dict[str, Any] = {"packed": True, "pad": 0, "device": torch.device("cpu")}
    expected = log_probs_of(module, ROWS * 3, token_budget=1000, **settings)
    recorder = Remembering()
    device = Small(monkeypatch, tokens=40, scoring=True)
    budget = TokenBudget(1000, recorder.record)
    assert abs(log_probs_of(module, ROWS * 3, token_budget=budget, **settings) - expected).max() < 1e-4
    assert device.refused == len(recorder.events) > 0
    assert budget.tokens <= 80


class Narrow:
    """A device on which at most `prompts` are written for together; counts the batches that did not fit."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, prompts: int) -> None:
        self.refused, honest = 0, GenerationMixin.generate

        def generate(model: Any, input_ids: torch.Tensor, **settings: Any) -> Any:
            if len(input_ids) > prompts:
                self.refused += 1
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return honest(model, input_ids=input_ids, **settings)

        monkeypatch.setattr(GenerationMixin, "generate", generate)


@pytest.mark.parametrize("sampling", [{}, {"first": "policy", "second": "policy", "max_new_tokens": 6}])
def test_completions_are_the_same_where_fewer_are_written_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampling: dict[str, Any]
) -> None:
    plan = {"every": 2, "prompts": 7, "generation": {"max_new_tokens": 5}}
    config = config_of("copg", steps=2, batch_size=4, evaluation=plan, **({"sampling": sampling} if sampling else {}))
    roomy, _ = run(config, tmp_path / "roomy", cache_folder=tmp_path)
    device = Narrow(monkeypatch, prompts=2)
    tight, _ = run(config, tmp_path / "tight", cache_folder=tmp_path)
    reports = memory_reports(tight)
    assert device.refused == len(reports) >= 2
    assert {report["stage"] for report in reports} == {"generation"}
    budgets = [report["generation_tokens"] for report in reports]
    assert budgets == sorted(budgets, reverse=True), "what was learnt did not hold"
    written = [[(e.step, [(s.completion, s.finished) for s in e.samples]) for e in one.of("evaluation")]
               for one in (roomy, tight)]  # fmt: skip
    assert written[0] == written[1]
    assert tight.losses() == pytest.approx(roomy.losses(), rel=1e-4, abs=1e-5)
    Narrow(monkeypatch, prompts=0)
    with pytest.raises(MemoryLimitError, match=r"generation with a single row.*max_new_tokens"):
        run(config, tmp_path / "none", cache_folder=tmp_path)


def test_what_another_process_learnt_counts_and_sharded_layers_cannot_begin_again() -> None:
    recorder = Remembering()
    budget = TokenBudget(UNLIMITED, recorder.record)
    budget.learn("generation", [TooLarge(8, 80), TooLarge(4, 40)])
    assert budget.tokens == 20
    assert [report["tokens_that_did_not_fit"] for report in memory_reports(recorder)] == [80, 40]
    with pytest.raises(MemoryLimitError, match=r"sharded.*evaluation\.generation\.batch_size or sampling\.batch_size"):
        TokenBudget(UNLIMITED, recoverable=False).shrink("generation", [TooLarge(8, 80)])


def test_what_else_does_not_fit_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **settings: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 54.00 GiB.")

    monkeypatch.setattr(torch.optim.AdamW, "step", full)
    with pytest.raises(MemoryLimitError, match=r"54\.00 GiB.*LoRA"):
        run(config_of("sft", **SETTINGS), tmp_path)
    with pytest.raises(MemoryLimitError, match="sharded"):
        TokenBudget(100, recoverable=False).shrink("training", [TooLarge(4, 100)])


def test_a_checkpoint_without_the_budget_is_refused_by_name(tmp_path: Path) -> None:
    from copg_core.batches import DataBatches
    from copg_core.update import Updater

    with pytest.raises(CheckpointError, match="lacks memory"):
        Updater.restore(object.__new__(Updater), DataBatches.state(object.__new__(DataBatches)))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) == expected
