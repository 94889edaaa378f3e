"""bfloat16 working weights learn what their float32 masters learn, and alone they would stand still."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from copg_core.layout import lay_out
from copg_core.logprobs import HEAD, CodePath, CompletionLogProbs, RewardModel, decoder_of
from copg_core.precision import MasterWeights, lower, widened
from copg_core.recipe import Optimizer
from tests.core.conftest import ROWS, Remembering, StopAfter, config_of, identical, run, tiny_llama, weights

FAST = CodePath(packed=True, chunked=True)
STEPS = 50


def module_in(dtype: torch.dtype) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    module = CompletionLogProbs(tiny_llama(initializer_range=0.02), FAST)
    return module, lower(module, dtype)


def loss_of(module: nn.Module) -> torch.Tensor:
    log_probs = module(lay_out(ROWS, packed=True, pad=0))
    return (log_probs[:, 1] - log_probs[:, 0]).mean()  # type: ignore[no-any-return]


def updates(module: nn.Module, masters: dict[str, torch.Tensor]) -> torch.Tensor:
    """What 50 steps of AdamW at the paper's rate changed in the masters, all parameters in one vector."""
    weights = MasterWeights(module, masters, Optimizer(learning_rate=1e-6))
    before = torch.cat([master.flatten().clone() for master in weights.masters.values()])
    for _ in range(STEPS):
        loss_of(module).backward()
        weights.update(torch.ones(()))
    return torch.cat([master.flatten() for master in weights.masters.values()]) - before


def test_at_the_papers_rate_masters_follow_float32_and_bfloat16_alone_stands_still() -> None:
    wide = updates(*module_in(torch.float32))
    narrow = updates(*module_in(torch.bfloat16))
    touched = wide != 0  # a token that does not occur has no gradient
    assert (narrow != 0)[touched].double().mean() > 0.99
    assert narrow.norm() == pytest.approx(float(wide.norm()), rel=0.02)
    assert torch.nn.functional.cosine_similarity(narrow, wide, dim=0) > 0.99
    # The control: the same optimizer on the rounded weights themselves.
    module, _ = module_in(torch.bfloat16)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-6, weight_decay=0.0)
    before = [parameter.detach().clone() for parameter in module.parameters()]
    for _ in range(STEPS):
        loss_of(module).backward()
        optimizer.step()
        optimizer.zero_grad()
    alone = torch.cat([(p.detach() - old).flatten() for p, old in zip(module.parameters(), before, strict=True)])
    assert (alone != 0)[touched].double().mean() < 0.05
    assert alone.float().norm() < wide.norm() / 2


def test_working_weights_are_the_rounded_masters_after_every_update() -> None:
    module, masters = module_in(torch.bfloat16)
    weights = MasterWeights(module, masters, Optimizer(learning_rate=1e-2))
    assert not masters, "a second copy of the masters was kept"
    for _ in range(2):
        loss_of(module).backward()
        assert {p.grad.dtype for p in module.parameters() if p.grad is not None} == {torch.bfloat16}
        weights.update(torch.ones(()))
    assert {tensor.dtype for tensor in weights.masters.values()} == {torch.float32}
    for name, parameter in module.named_parameters():
        assert torch.equal(parameter, weights.masters[name].bfloat16())
        assert parameter.grad is None
    weights.settle(module)
    assert all(torch.equal(parameter, weights.masters[name]) for name, parameter in module.named_parameters())


def test_small_buckets_of_gradients_make_the_same_update(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = updates(*module_in(torch.bfloat16))
    monkeypatch.setattr("copg_core.precision.BUCKET", 300)
    assert torch.equal(updates(*module_in(torch.bfloat16)), whole)


def test_log_probabilities_are_float32_and_buffers_are_never_rounded() -> None:
    """With a bfloat16 sum the result would have 8 bits; it must agree with float32 within the matrix products' noise."""
    rows = lay_out(ROWS, packed=True, pad=0)
    for path in (FAST, CodePath(packed=True, chunked=False)):
        module, _ = module_in(torch.bfloat16)
        module.path = path
        narrow = module(rows)
        assert narrow.dtype == torch.float32
        with widened(module):
            wide = module(rows)
        torch.testing.assert_close(narrow, wide, rtol=0, atol=0.05)
        assert not torch.equal(narrow, wide), "the forward pass was not in bfloat16"
        assert torch.equal(module(rows), narrow), "widening left something changed"
        assert {buffer.dtype for buffer in module.buffers()} == {torch.float32}


def test_the_head_of_a_reward_model_stays_float32() -> None:
    model = RewardModel(decoder_of(tiny_llama()), 16)
    head = copy.deepcopy(model.score.weight)
    masters = lower(model, torch.bfloat16, wide=HEAD)
    assert torch.equal(model.score.weight, head)
    assert HEAD.isdisjoint(masters)
    rewards = model(lay_out(ROWS, packed=True, pad=0))
    assert rewards.dtype == torch.float32
    assert not torch.equal(rewards, rewards.bfloat16().float()), "rewards were rounded to eight bits"


@pytest.mark.parametrize("algorithm", ["copg", "reward_model"])
def test_a_bfloat16_run_keeps_its_masters_and_resumes_bit_for_bit(algorithm: str, tmp_path: Path) -> None:
    config = config_of(algorithm, dtype="bfloat16", evaluation={"every": 50, "prompts": 2})
    whole, outcome = run(config, tmp_path / "whole")
    stop = StopAfter(5)
    run(config, tmp_path / "cut", recorder=Remembering(stop.see), should_stop=stop)
    checkpoint = tmp_path / "cut" / "checkpoints" / "step-5"
    masters, moments = (load_file(checkpoint / f"{name}.safetensors") for name in ("model", "optimizer"))
    assert {tensor.dtype for tensor in (*masters.values(), *moments.values())} == {torch.float32}
    assert any(not torch.equal(tensor, tensor.bfloat16().float()) for tensor in masters.values())
    resumed, again = run(config, tmp_path / "cut", resume_from=checkpoint)
    assert resumed.losses() == {6: whole.losses()[6]}
    assert identical(weights(again), weights(outcome))
    assert {tensor.dtype for tensor in weights(outcome).values()} == {torch.float32}
