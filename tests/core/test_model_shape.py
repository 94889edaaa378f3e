"""Shapes against real transformers models, and FLOPs against figures computed by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Qwen3Config,
)

from copg_core.errors import ModelError
from copg_core.hardware import DEVICES, known_device, peak_flops
from copg_core.model_shape import KNOWN_MODELS, LLAMA_2_7B, forward_flops, shape_of, train_flops

SIZE = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 500}


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**SIZE, intermediate_size=172, num_key_value_heads=2, tie_word_embeddings=True),
        MistralConfig(**SIZE, intermediate_size=128, num_key_value_heads=2),
        Qwen3Config(**SIZE, intermediate_size=160, num_key_value_heads=2, head_dim=32),
        GemmaConfig(**SIZE, intermediate_size=160, num_key_value_heads=1, head_dim=24),
        GPTNeoXConfig(**SIZE, intermediate_size=256),
        GPT2Config(n_embd=64, n_layer=3, n_head=4, vocab_size=500, n_positions=128),
    ],
    ids=lambda config: str(config.model_type),
)
def test_parameters_are_those_of_the_real_model(config: Any) -> None:
    """Within the biases and the norms of queries and keys, which the shape leaves out: 2 % in models this narrow."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert shape_of(config.to_diff_dict() | {"model_type": config.model_type}).parameters() == pytest.approx(
        counted, rel=0.02
    )
    assert shape_of(config.to_dict()).parameters() == pytest.approx(counted, rel=0.02)


def test_llama_2_7b_has_its_published_size() -> None:
    assert LLAMA_2_7B.parameters() == 6_738_415_616
    assert KNOWN_MODELS["openai-community/gpt2"].parameters() == pytest.approx(124_439_808, rel=1e-3)
    assert KNOWN_MODELS["Qwen/Qwen2.5-0.5B"].parameters() == pytest.approx(494_032_768, rel=1e-3)
    assert KNOWN_MODELS["meta-llama/Llama-3.1-8B"].parameters() == 8_030_261_248
    assert KNOWN_MODELS["EleutherAI/pythia-1.4b"].parameters() == pytest.approx(1_414_647_808, rel=1e-3)


def test_a_shape_that_is_not_known_is_refused_with_a_reason() -> None:
    with pytest.raises(ModelError, match="mixture of experts"):
        shape_of({"model_type": "mixtral", "num_local_experts": 8})
    with pytest.raises(ModelError, match="layers, width"):
        shape_of({"model_type": "mystery", "num_attention_heads": 4, "vocab_size": 10}, source="here/config.json")


def test_flops_by_hand() -> None:
    """Llama2-7B: 32 layers of 4 * 4096^2 + 3 * 4096 * 11008 = 202,375,168 elements, twice that a token: 12.95 GFLOP.
    Head: 2 * 32,000 * 4096 = 0.262 GFLOP. Attention over 430 tokens: 4 * 32 * 4096 * 430 = 0.225 GFLOP."""
    assert forward_flops(LLAMA_2_7B, 1, 0) == 2 * 32 * 202_375_168
    assert forward_flops(LLAMA_2_7B, 0, 1) == 262_144_000
    assert forward_flops(LLAMA_2_7B, 1, 0, row_tokens=430) - forward_flops(LLAMA_2_7B, 1, 0) == 4 * 32 * 4096 * 430
    pair = train_flops(LLAMA_2_7B, 430, 80, row_tokens=430)
    assert pair == pytest.approx(17.06e12, rel=0.01)
    assert train_flops(LLAMA_2_7B, 430, 80, True, 430) == pytest.approx(pair * 4 / 3)


def test_devices_are_found_by_the_names_of_their_drivers() -> None:
    assert peak_flops("NVIDIA H200", "bfloat16") == 989e12
    assert peak_flops("NVIDIA H100 PCIe", "bfloat16") == 756e12
    assert peak_flops("NVIDIA GeForce RTX 4090", "float32") == 82.6e12
    assert peak_flops("AMD something", "bfloat16") is None
    assert known_device("NVIDIA GeForce RTX 4090 Laptop GPU") is None, "half of the card of that name"
    assert known_device("NVIDIA H100 80GB HBM3 MIG 1g.10gb") is None, "a seventh of the card"
    l40s, l4 = known_device("NVIDIA L40S"), known_device("NVIDIA L4")
    assert l40s is not None
    assert l4 is not None
    assert l40s.bandwidth > l4.bandwidth
    assert all(device.bfloat16 > device.float32 > device.bandwidth for device in DEVICES)
