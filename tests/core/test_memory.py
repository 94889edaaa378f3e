"""The memory estimate against known arithmetic and against what autograd keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoXConfig, LlamaConfig, Qwen3Config

from copg_core.config import RunConfig, parse_config
from copg_core.errors import ConfigError
from copg_core.estimate import Machine, estimate_run, refuse
from copg_core.inputs import Lookup
from copg_core.layout import TokenRow, lay_out
from copg_core.logprobs import CompletionLogProbs, recognise
from copg_core.memory import LOGITS_AT_ONCE, Lengths, estimate_memory, kept_per_token
from copg_core.model_shape import LLAMA_2_7B, shape_of
from copg_core.policies import add_lora
from copg_core.recipe import Lora
from tests.core.conftest import config_of

GB = 10**9
MIB = 2**20
H200 = 143_771 * MIB
TLDR = Lengths(mean=430, longest=768, completions=80, rows=92_858, basis="data")


def paper(**settings: Any) -> RunConfig:
    """CoPG with Llama2-7B at the paper's sizes."""
    return parse_config(
        {
            "algorithm": "copg",
            "policy": {"kind": "hub", "id": "meta-llama/Llama-2-7b-hf"},
            "data": {"kind": "hub", "id": "trl-lib/tldr-preference"},
            "reward": {"kind": "data"},
            "dtype": "bfloat16",
            "micro_batch_tokens": 2048,
            **settings,
        }
    )


def parts(config: RunConfig, **options: Any) -> dict[str, int]:
    estimate = estimate_memory(config, LLAMA_2_7B, lengths=TLDR, **options)
    return {part.name: part.bytes for part in estimate.parts}


def test_full_fine_tuning_of_7b_by_hand() -> None:
    """P = 6,738,415,616: 2 P weights, 4 P masters, 8 P moments, 2 P gradients: 16 P = 107.8 GB. In float32 the weights are
    their own masters and gradients are as wide: 4 + 8 + 4 = 16 P again."""
    for dtype in ("bfloat16", "float32"):
        seen = parts(paper(dtype=dtype))
        sixteen = sum(seen.get(name, 0) for name in ("weights", "masters", "adam", "gradients"))
        assert sixteen == 16 * 6_738_415_616
    assert parts(paper())["adam"] == 8 * 6_738_415_616
    assert "masters" not in parts(paper(dtype="float32"))


def test_activations_of_7b_by_hand() -> None:
    """47.6 H bytes were measured a token and layer in bfloat16: 430 tokens in 32 layers of width 4096 are 2.68 GB."""
    more = [parts(paper(micro_batch_tokens=430 * pairs))["activations"] for pairs in (4, 8)]
    assert (more[1] - more[0]) / 4 == pytest.approx(2.68 * GB, rel=0.05)
    little = [
        parts(paper(micro_batch_tokens=430 * pairs, gradient_checkpointing="on"))["activations"] for pairs in (4, 8)
    ]
    assert (little[1] - little[0]) / 4 < 0.3 * GB
    assert kept_per_token(LLAMA_2_7B, 2) == pytest.approx(47.6 * 4096, rel=0.01)
    assert kept_per_token(LLAMA_2_7B, 4) == pytest.approx(87 * 4096, rel=0.01)


def test_adapters_train_less_than_a_hundredth() -> None:
    seen = parts(paper(lora={"enabled": True, "rank": 16}))
    assert seen["weights"] == pytest.approx(2 * 6_738_415_616, rel=0.01)
    assert seen["adam"] == 8 * LLAMA_2_7B.adapter_parameters(16) == 8 * 39_976_960
    assert "visit" not in seen  # the reference is the same weights with adapters off


def test_adapters_are_counted_as_peft_makes_them() -> None:
    config = LlamaConfig(hidden_size=32, intermediate_size=80, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, vocab_size=50)  # fmt: skip
    model = add_lora(AutoModelForCausalLM.from_config(config), Lora(enabled=True, rank=4), 0)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert shape_of(config.to_dict()).adapter_parameters(4) == trained


def test_the_peak_is_the_largest_moment() -> None:
    generating = paper(evaluation={"prompts": 512, "generation": {"batch_size": 512, "max_new_tokens": 512}})
    estimate = estimate_memory(generating, LLAMA_2_7B, lengths=TLDR)
    assert estimate.peak_phase == "generation"
    assert estimate.total == estimate.phase_bytes("always") + estimate.phase_bytes("generation")
    assert estimate_memory(paper(), LLAMA_2_7B, lengths=TLDR).peak_phase == "step"
    scorer = estimate_memory(paper(), LLAMA_2_7B, rewards=[LLAMA_2_7B], lengths=TLDR)
    assert scorer.total - estimate_memory(paper(), LLAMA_2_7B, lengths=TLDR).total == pytest.approx(13.2 * GB, rel=0.01)


def test_shards_divide_what_is_sharded() -> None:
    one, eight = parts(paper()), parts(paper(), shards=8)
    assert eight["adam"] == one["adam"] // 8
    assert eight["activations"] == one["activations"]


def test_a_micro_batch_is_no_larger_than_its_batch() -> None:
    short = replace(TLDR, mean=20, longest=30, completions=8)
    small = estimate_memory(paper(batch_size=4, micro_batch_tokens=16_384), LLAMA_2_7B, lengths=short)
    assert small.micro_batch_tokens == 81


def test_auto_checkpoints_exactly_where_it_must() -> None:
    roomy = estimate_memory(paper(), LLAMA_2_7B, H200, lengths=TLDR)
    tight = estimate_memory(paper(micro_batch_tokens=16_384), LLAMA_2_7B, H200, lengths=TLDR)
    assert (roomy.gradient_checkpointing, roomy.fits) == (False, True)
    assert (tight.gradient_checkpointing, tight.fits) == (True, True)
    off = paper(micro_batch_tokens=16_384, gradient_checkpointing="off")
    assert estimate_memory(off, LLAMA_2_7B, H200, lengths=TLDR).fits is False


def test_a_refusal_says_what_is_needed_what_there_is_and_what_helps() -> None:
    estimate = estimate_run(
        paper(gradient_checkpointing="off", micro_batch_tokens=8192), Machine("NVIDIA H200", H200), lengths=TLDR
    )
    with pytest.raises(ConfigError, match=r"Does not fit: needs 16\d\.\d GB, NVIDIA H200 has 150\.8 GB") as refused:
        refuse(estimate)
    assert "a micro-batch of 4096 tokens (13" in str(refused.value)
    assert "gradient checkpointing (1" in str(refused.value)
    refuse(estimate_run(paper(), Machine("NVIDIA H200", H200), lengths=TLDR))
    hopeless = estimate_run(paper(), Machine("tiny", 2**30), lengths=TLDR)
    assert "No setting makes it fit" in hopeless.verdict


def test_what_is_not_known_is_never_refused() -> None:
    lost = config_of("copg", policy={"kind": "hub", "id": "nobody/nothing"})
    estimate = estimate_run(lost, Machine("NVIDIA H200", H200), Lookup())
    assert estimate.memory is None
    assert "nobody/nothing is not on this machine" in estimate.unknown[0]
    refuse(estimate)


@pytest.mark.parametrize("wrong", ["meta-", "meta-llama/Llama-", "Qwen/Qwen2."])
def test_a_name_that_is_still_being_typed_is_no_failure(wrong: str) -> None:
    estimate = estimate_run(config_of("copg", policy={"kind": "hub", "id": wrong}), Machine("H200", H200), Lookup())
    assert estimate.memory is None
    elsewhere = config_of("copg", policy={"kind": "folder", "path": "~nobody-of-that-name/model"})
    assert estimate_run(elsewhere, Machine("H200", H200), Lookup()).memory is None


def test_completions_for_a_value_baseline_are_counted() -> None:
    settings = {
        "algorithm": "policy_gradient",
        "reward": {"kind": "function", "name": "length", "options": {"target": 30}},
        "sampling": {"batch_size": 128, "max_new_tokens": 512},
        "evaluation": {"prompts": 8},
    }
    plain, valued = (
        estimate_run(paper(**settings, baseline=baseline), Machine("NVIDIA H200", H200), lengths=TLDR)
        for baseline in ("none", "value")
    )
    generation = [
        next(part.bytes for part in one.memory.parts if part.name == "generation")
        for one in (plain, valued)
        if one.memory
    ]
    assert generation[1] > 10 * generation[0]
    assert plain.time is not None
    assert valued.time is not None
    names = [{stage.name for stage in one.time.stages} for one in (plain, valued) if one.time]
    assert names[1] - names[0] == {"fresh"}


def test_a_row_limit_counts_for_known_data() -> None:
    data = {"kind": "hub", "id": "trl-lib/tldr-preference", "limit": 1000}
    lengths = estimate_run(paper(data=data), Machine("NVIDIA H200", H200)).lengths
    assert lengths is not None
    assert lengths.rows == 1000


def test_the_chunk_of_the_head_is_the_one_that_is_computed() -> None:
    from copg_core import logprobs

    assert LOGITS_AT_ONCE == logprobs.LOGITS_AT_ONCE


# ---------------------------------------------------------------- against autograd

WIDTH = {"hidden_size": 128, "num_attention_heads": 4, "vocab_size": 64}


def kept_by_autograd(model: Any) -> tuple[float, int]:
    """Bytes of distinct storages that the forward pass saved, weights apart, over the row's tokens; and the row's tokens."""
    rows = [TokenRow(list(range(1, 51)), (list(range(1, 16)), list(range(1, 16)))) for _ in range(2)]
    path = recognise(model, 80)
    laid_out = lay_out(rows, packed=path.packed, pad=0)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    seen: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        held = CompletionLogProbs(model, path)(laid_out)
    del held
    return sum(seen.values()) / laid_out.input_ids.numel(), laid_out.input_ids.shape[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("make", "lora"),
    [
        (lambda n: LlamaConfig(**WIDTH, intermediate_size=344, num_key_value_heads=4, num_hidden_layers=n), False),
        (lambda n: LlamaConfig(**WIDTH, intermediate_size=344, num_key_value_heads=4, num_hidden_layers=n), True),
        (lambda n: Qwen3Config(**WIDTH, intermediate_size=448, num_key_value_heads=2, head_dim=32, num_hidden_layers=n), False),
        (lambda n: GPTNeoXConfig(**WIDTH, intermediate_size=512, num_hidden_layers=n), False),
        (lambda n: GPT2Config(n_embd=128, n_head=4, vocab_size=64, n_layer=n, bos_token_id=0, eos_token_id=0), False),
    ],
    ids=["llama", "llama-lora", "qwen3", "gpt-neox", "gpt2"],
)  # fmt: skip
def test_a_layer_keeps_what_is_estimated(make: Any, lora: bool, dtype: torch.dtype) -> None:
    """Two depths tell a layer from the rest. Never less than autograd keeps, and at most a fifth more."""
    totals = []
    for layers in (1, 3):
        config = make(layers)
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").to(dtype).eval()
        if lora:
            model = add_lora(model, Lora(enabled=True, rank=2), 0).to(dtype)
        kept, row = kept_by_autograd(model)
        totals.append(kept)
    bytes_each = dtype.itemsize
    estimated = kept_per_token(shape_of(config.to_dict()), bytes_each, trained=not lora) + bytes_each * row
    assert 0.98 < estimated / ((totals[1] - totals[0]) / 2) < 1.2
