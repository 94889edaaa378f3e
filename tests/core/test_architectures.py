"""Every architecture gives the definition of a completion's log-probability on the path that is recognised for it, and one
whose configuration hides its peculiarity is stopped by the check on the first batch."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    GraniteConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen3Config,
    Qwen3NextConfig,
)

from copg_core.errors import ModelError
from copg_core.logprobs import CodePath, CompletionLogProbs, first_batch_check, recognise
from tests.core.conftest import ROWS, tiny_llama
from tests.core.test_logprobs import CPU, PACKED, log_probs, one_by_one

LONGEST = max(row.tokens(packed=True) for row in ROWS)
SMALL: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
WITHOUT_KEYS = {name: value for name, value in SMALL.items() if name not in ("num_key_value_heads", "head_dim")}
GPT2 = {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "initializer_range": 0.2}
LINEAR: dict[str, Any] = {
    "layer_types": ["linear_attention", "full_attention"], "linear_num_value_heads": 2, "linear_num_key_heads": 2,
    "linear_key_head_dim": 8, "linear_value_head_dim": 8, "num_experts": 2, "num_experts_per_tok": 1,
    "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "mlp_only_layers": [0, 1],
}  # fmt: skip

# name -> configuration, whether rows are packed, whether the head is chunked
ARCHITECTURES: dict[str, tuple[Callable[[], PretrainedConfig], bool, bool]] = {
    "llama": (lambda: LlamaConfig(**SMALL), True, True),
    "qwen3": (lambda: Qwen3Config(**SMALL), True, True),
    "gpt-neox": (lambda: GPTNeoXConfig(**WITHOUT_KEYS), True, True),
    "gpt2": (lambda: GPT2Config(**GPT2), True, True),
    "gemma": (lambda: GemmaConfig(**SMALL), True, True),
    "mistral, window shorter": (lambda: MistralConfig(**SMALL, sliding_window=4), False, True),
    "mistral, window longer": (lambda: MistralConfig(**SMALL, sliding_window=64), True, True),
    "gemma2, soft cap": (lambda: Gemma2Config(**SMALL, final_logit_softcapping=3.0, sliding_window=64), False, False),
    "gemma2, window shorter": (
        lambda: Gemma2Config(**SMALL, final_logit_softcapping=3.0, sliding_window=4), False, False,
    ),
    "gemma3, window shorter": (lambda: Gemma3TextConfig(**SMALL, sliding_window=4), False, True),
    "gemma3, window longer": (lambda: Gemma3TextConfig(**SMALL, sliding_window=64), True, True),
    "cohere": (lambda: CohereConfig(**WITHOUT_KEYS, num_key_value_heads=2, logit_scale=0.25), True, False),
    "granite": (lambda: GraniteConfig(**WITHOUT_KEYS, num_key_value_heads=2, logits_scaling=4.0), True, False),
    "mamba": (
        lambda: MambaConfig(vocab_size=40, hidden_size=16, num_hidden_layers=2, state_size=4, initializer_range=0.2),
        False, True,
    ),
    "qwen3-next, linear attention": (lambda: Qwen3NextConfig(**SMALL, **LINEAR), False, True),
}  # fmt: skip


def build(name: str) -> Any:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "the fast path is not available": it is not what is tested
        return AutoModelForCausalLM.from_config(ARCHITECTURES[name][0](), dtype=torch.float32).eval()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_recognised_path_gives_the_definition(name: str) -> None:
    model = build(name)
    _, packed, chunked = ARCHITECTURES[name]
    path = recognise(model, LONGEST)
    assert (path.packed, path.chunked) == (packed, chunked), path.reason
    assert bool(path.reason) == (not packed or not chunked)
    expected = one_by_one(model, ROWS)
    assert float(expected.detach().std()) > 1, "a model that finds everything equally likely proves nothing"
    torch.testing.assert_close(log_probs(model, path, ROWS), expected, rtol=1e-5, atol=1e-4)
    assert first_batch_check(CompletionLogProbs(model, path), ROWS, 0, CPU) < 1e-3


# Mamba cannot even be called with the mask of packed rows.
WRONG_WHEN_PACKED = [
    name for name, (_, packed, chunked) in ARCHITECTURES.items() if not (packed and chunked) and name != "mamba"
]


@pytest.mark.parametrize("name", WRONG_WHEN_PACKED)
def test_what_is_not_recognised_is_stopped_on_the_first_batch(name: str) -> None:
    """The control: the fast path would be wrong for each of these, and the check says so, whatever the configuration."""
    with pytest.raises(ModelError, match="differ by"):
        first_batch_check(CompletionLogProbs(build(name), PACKED), ROWS, 0, CPU)


def test_a_window_as_wide_as_the_longest_row_may_be_packed() -> None:
    model = build("mistral, window shorter")
    assert not recognise(model, longest_row=5).packed
    assert recognise(model, longest_row=4).packed


def test_a_configuration_that_lies_is_stopped() -> None:
    """The window is in the layers, and the configuration no longer says so."""
    model = build("mistral, window shorter")
    honest = recognise(model, LONGEST)
    hidden = model.config.sliding_window
    model.config.sliding_window = None
    path = recognise(model, LONGEST)
    assert path == CodePath(packed=True, chunked=True) != honest
    model.config.sliding_window = hidden
    with pytest.raises(ModelError, match="recognise does not know"):
        first_batch_check(CompletionLogProbs(model, path), ROWS, 0, CPU)


def test_an_output_layer_with_a_bias_takes_its_own_logits() -> None:
    model = tiny_llama()
    head = torch.nn.Linear(16, 40, bias=True)
    torch.nn.init.normal_(head.bias)
    model.set_output_embeddings(head)
    path = recognise(model, LONGEST)
    assert not path.chunked
    torch.testing.assert_close(log_probs(model, path, ROWS), one_by_one(model, ROWS), rtol=1e-5, atol=1e-4)
