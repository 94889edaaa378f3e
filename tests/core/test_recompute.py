"""Gradient checkpointing: the same numbers from less memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from copg_core.adapters import add_lora
from copg_core.errors import ConfigError
from copg_core.layout import TokenRow, lay_out
from copg_core.logprobs import CodePath, CompletionLogProbs, RewardModel, decoder_of
from copg_core.recipe import Lora
from copg_core.recompute import layers_of, recompute
from tests.core.conftest import config_of, identical, run, tiny_llama, weights

LONG = [TokenRow([1, *range(5, 25)], ([*range(10, 30), 2], [*range(12, 39), 2])) for _ in range(4)]


def log_probs_module() -> nn.Module:
    return CompletionLogProbs(tiny_llama(num_hidden_layers=4), CodePath(packed=True, chunked=True))


def adapted_module() -> nn.Module:
    model = add_lora(tiny_llama(num_hidden_layers=4), Lora(enabled=True, rank=2), seed=1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero at the start: no gradient would reach A
            nn.init.normal_(parameter)
    return CompletionLogProbs(model, CodePath(packed=True, chunked=True))


def reward_module() -> nn.Module:
    torch.manual_seed(0)
    return RewardModel(decoder_of(tiny_llama(num_hidden_layers=4)), 16).eval()


@contextmanager
def counting_saved_bytes() -> Iterator[list[int]]:
    """Bytes that autograd keeps for the backward pass, each storage once."""
    seen: dict[int, int] = {}
    total = [0]

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if not isinstance(tensor, nn.Parameter) and storage.data_ptr() not in seen:
            seen[storage.data_ptr()] = storage.nbytes()
            total[0] += storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield total


def gradients(module: nn.Module) -> tuple[float, dict[str, torch.Tensor], int]:
    rows = lay_out(LONG, packed=True, pad=0)
    with counting_saved_bytes() as saved:
        output = module(rows)
        loss = (output[:, 0] - output[:, 1]).square().mean()
    torch.autograd.backward(loss)
    found = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
    module.zero_grad()
    return loss.item(), found, saved[0]


@pytest.mark.parametrize("make", [log_probs_module, adapted_module, reward_module])
def test_the_same_loss_and_gradients_from_a_fraction_of_the_memory(make: type) -> None:
    module = make()
    loss, expected, kept = gradients(module)
    assert math.isfinite(loss)
    assert all(gradient.abs().sum() > 0 for gradient in expected.values())
    assert recompute(module, True)
    again, found, kept_less = gradients(module)
    assert again == loss
    assert identical(found, expected)
    assert kept_less < kept / 3
    assert recompute(module, False)
    assert gradients(module)[2] == kept


def test_generation_keeps_its_cache() -> None:
    model = tiny_llama()
    ids = torch.tensor([[1, 5, 6]])
    plain = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, do_sample=False)
    recompute(model, True)
    calls: list[int] = []
    layers_of(model)[0].register_forward_pre_hook(lambda layer, arguments: calls.append(arguments[0].shape[1]))
    again = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, do_sample=False)
    assert torch.equal(plain, again)
    assert calls[1:] == [1] * (len(calls) - 1), "every token went through the whole prefix again"


@pytest.mark.parametrize("algorithm", ["copg", "reward_model"])
def test_a_whole_run_is_the_same_to_the_last_bit(algorithm: str, tmp_path: Path) -> None:
    settings = {"steps": 3, "evaluation": {"every": 50, "prompts": 2}}
    kept, first = run(config_of(algorithm, **settings), tmp_path / "kept")
    again, second = run(config_of(algorithm, gradient_checkpointing="on", **settings), tmp_path / "again")
    assert kept.losses() == again.losses()
    assert identical(weights(first), weights(second))


def test_an_architecture_without_known_layers_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("copg_core.recompute.layers_of", lambda module: [])
    with pytest.raises(ConfigError, match="gradient checkpointing is not known for LlamaForCausalLM"):
        run(config_of("sft", gradient_checkpointing="on"), tmp_path)
