"""Models are loaded as they should be, or refused with a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from copg_core.adapters import add_lora
from copg_core.encoding import decode_completion, encode_completion
from copg_core.errors import ModelError
from copg_core.evaluate import Reference
from copg_core.layout import lay_out
from copg_core.logprobs import CodePath, CompletionLogProbs
from copg_core.policies import (
    byte_tokenizer,
    load_policy,
    load_reward_model,
    new_reward_model,
    save_policy,
    save_reward_model,
    weights_hash,
)
from copg_core.recipe import Lora
from copg_core.sources import FileData, FolderModel, PresetModel, TaskData
from tests.core.conftest import ROWS, tiny_llama

MANIFEST = {"config": {"max_prompt_tokens": 16, "max_completion_tokens": 8}}


def preset(seed: int = 0, size: Any = "nano", **options: Any) -> Any:
    return load_policy(PresetModel(size=size, **options), TaskData(), seed=seed)


def test_a_preset_is_a_function_of_its_seed_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = preset()
    assert torch.equal(torch.rand(1), expected)
    assert weights_hash(first.model) == weights_hash(preset().model)
    assert weights_hash(first.model) != weights_hash(preset(seed=1).model)
    assert {p.dtype for p in first.model.parameters()} == {torch.float32}
    assert not first.model.training


def test_the_task_has_a_token_for_each_word_and_other_data_one_for_each_byte() -> None:
    policy = preset()
    ids = encode_completion(policy.tokenizer, "sister stole my bike", 10)
    assert len(ids) == 5
    assert ids[-1] == policy.tokenizer.eos_token_id
    text = "Ünï \n\ncode 🚲 </s>"
    tokenizer = byte_tokenizer()
    ids = encode_completion(tokenizer, text, 100)
    assert len(ids) == len(text.encode()) + 1
    assert decode_completion(tokenizer, ids) == text
    other = load_policy(PresetModel(size="nano"), FileData(path="rows.jsonl"))
    assert len(other.tokenizer) == 260


def test_a_saved_policy_loads_as_it_was(tmp_path: Path) -> None:
    policy = preset()
    save_policy(tmp_path, policy, MANIFEST)
    again = load_policy(FolderModel(path=str(tmp_path)), TaskData())
    assert weights_hash(again.model) == weights_hash(policy.model)
    assert again.tokenizer.get_vocab() == policy.tokenizer.get_vocab()
    assert json.loads((tmp_path / "run.json").read_text())["kind"] == "policy"


def test_the_pretrained_model_loads(stories: str) -> None:
    policy = load_policy(FolderModel(path=stories), TaskData())
    assert sum(p.numel() for p in policy.model.parameters()) == 260_032
    assert policy.end_ids == {2}
    assert {p.dtype for p in policy.model.parameters()} == {torch.float32}


def test_dropout_is_off_even_in_a_model_that_was_saved_with_it_and_put_in_training_mode(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=300, n_embd=16, n_layer=2, n_head=2, attn_pdrop=0.5, resid_pdrop=0.5, embd_pdrop=0.5)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    policy = load_policy(FolderModel(path=str(tmp_path)), TaskData())
    log_probs = CompletionLogProbs(policy.model.train(), CodePath(packed=True, chunked=True))
    rows = lay_out(ROWS, packed=True, pad=0)
    assert torch.equal(log_probs(rows), log_probs(rows))


def test_generation_settings_of_the_publisher_are_dropped_but_not_the_ends(tmp_path: Path) -> None:
    policy = preset()
    policy.model.generation_config.repetition_penalty = 1.3
    policy.model.generation_config.eos_token_id = [2, 7]
    save_policy(tmp_path, policy, MANIFEST)
    again = load_policy(FolderModel(path=str(tmp_path)), TaskData())
    assert again.model.generation_config.repetition_penalty in (None, 1.0)
    assert again.end_ids == {2, 7}


class TestRefused:
    def test_a_folder_that_is_not_there(self) -> None:
        with pytest.raises(ModelError, match="does not exist"):
            load_policy(FolderModel(path="/nowhere"), TaskData())

    def test_a_folder_without_a_model(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="cannot be loaded"):
            load_policy(FolderModel(path=str(tmp_path)), TaskData())

    def test_corrupt_weights(self, tmp_path: Path) -> None:
        save_policy(tmp_path, preset(), MANIFEST)
        (tmp_path / "model.safetensors").write_bytes(b"not safetensors")
        with pytest.raises(ModelError, match="cannot be loaded"):
            load_policy(FolderModel(path=str(tmp_path)), TaskData())

    def test_weights_that_are_missing(self, tmp_path: Path) -> None:
        save_policy(tmp_path, preset(), MANIFEST)
        state = load_file(tmp_path / "model.safetensors")
        del state["model.layers.1.mlp.up_proj.weight"]
        save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ModelError, match="lacks weights"):
            load_policy(FolderModel(path=str(tmp_path)), TaskData())

    def test_pickled_weights(self, tmp_path: Path) -> None:
        policy = preset()
        save_policy(tmp_path, policy, MANIFEST)
        (tmp_path / "model.safetensors").unlink()
        torch.save(policy.model.state_dict(), tmp_path / "pytorch_model.bin")
        with pytest.raises(ModelError, match="safetensors"):
            load_policy(FolderModel(path=str(tmp_path)), TaskData())

    def test_a_tokenizer_that_is_larger_than_the_model(self, tmp_path: Path) -> None:
        tiny_llama().save_pretrained(tmp_path)
        byte_tokenizer().save_pretrained(tmp_path)
        with pytest.raises(ModelError, match="the tokenizer has 260 tokens, but the model only 40"):
            load_policy(FolderModel(path=str(tmp_path)), TaskData())

    def test_a_reward_model_as_a_policy(self, tmp_path: Path) -> None:
        policy = preset()
        save_reward_model(tmp_path, new_reward_model(policy, Lora(), 0), policy.tokenizer, MANIFEST)
        with pytest.raises(ModelError, match="holds a reward model"):
            load_policy(FolderModel(path=str(tmp_path)), TaskData())


class TestRewardModel:
    @pytest.mark.parametrize("lora", [Lora(), Lora(enabled=True, rank=2)])
    def test_head_and_decoder_come_back(self, lora: Lora, tmp_path: Path) -> None:
        policy = preset()
        model = new_reward_model(policy, lora, seed=3)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
        rows = lay_out(ROWS, packed=True, pad=0)
        before = model(rows)
        save_reward_model(tmp_path, model, policy.tokenizer, MANIFEST)
        again, tokenizer, _ = load_reward_model(tmp_path)
        torch.testing.assert_close(again(rows), before, rtol=1e-5, atol=1e-5)
        assert tokenizer.get_vocab() == policy.tokenizer.get_vocab()

    @pytest.mark.parametrize("change", ["missing", "extra"])
    def test_loading_is_strict(self, change: str, tmp_path: Path) -> None:
        policy = preset()
        save_reward_model(tmp_path, new_reward_model(policy, Lora(), 0), policy.tokenizer, MANIFEST)
        state = load_file(tmp_path / "reward_model.safetensors")
        if change == "missing":
            del state["score.weight"]
        else:
            state["score.bias"] = torch.zeros(1)
        save_file(state, tmp_path / "reward_model.safetensors")
        with pytest.raises(ModelError, match=r"score\."):
            load_reward_model(tmp_path)

    def test_an_output_without_manifest_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"run\.json"):
            load_reward_model(tmp_path)


def test_with_adapters_the_reference_is_exactly_the_model_they_were_added_to() -> None:
    path, rows = CodePath(packed=True, chunked=True), lay_out(ROWS, packed=True, pad=0)
    policy = preset()
    expected = CompletionLogProbs(policy.model, path)(rows)
    adapted = add_lora(policy.model, Lora(enabled=True, rank=2), seed=0)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    assert not torch.allclose(CompletionLogProbs(adapted, path)(rows), expected)
    reference = Reference(CompletionLogProbs(adapted, path), adapters=True, device=torch.device("cpu"))
    with reference.module() as module:
        assert torch.equal(module(rows), expected)


def test_without_adapters_the_reference_does_not_follow_the_policy() -> None:
    path, rows = CodePath(packed=True, chunked=True), lay_out(ROWS, packed=True, pad=0)
    policy = preset()
    expected = CompletionLogProbs(policy.model, path)(rows)
    reference = Reference(CompletionLogProbs(policy.model, path), adapters=False, device=torch.device("cpu"))
    with torch.no_grad():
        policy.model.get_input_embeddings().weight.mul_(2)
    with reference.module() as module:
        assert torch.equal(module(rows), expected)
        assert not any(parameter.requires_grad for parameter in module.parameters())
