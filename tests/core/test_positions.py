"""Rows longer than the model's positions: refused where a table ends, reported where positions are computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    GPT2Config,
    GPTJConfig,
    GPTNeoXConfig,
    LlamaConfig,
    OPTConfig,
)

from copg_core.errors import ConfigError
from copg_core.layout import TokenRow
from copg_core.policies import load_policy
from copg_core.positions import check_positions
from copg_core.prepare import prepare
from copg_core.processes import Processes
from copg_core.surroundings import Surroundings
from tests.core.conftest import config_of

SMALL: dict[str, Any] = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
TABLE = {
    "gpt2": GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2, n_positions=32),
    "gptj": GPTJConfig(vocab_size=40, n_embd=16, n_layer=1, n_head=2, rotary_dim=4, n_positions=32),
    "opt": OPTConfig(**SMALL, ffn_dim=16, word_embed_proj_dim=16, max_position_embeddings=32),
}
COMPUTED = {
    "llama": LlamaConfig(**SMALL, intermediate_size=16, max_position_embeddings=32),
    "gpt_neox": GPTNeoXConfig(**SMALL, intermediate_size=16, max_position_embeddings=32),
}
PROMPT = [1] * 20
GENERATION = {"every": 1, "prompts": 2, "generation": {"max_new_tokens": 4}}


def model_of(config: Any) -> Any:
    return AutoModelForCausalLM.from_config(config).eval()


def check(model: Any, completion: int, *, evaluation: int = 4, **settings: Any) -> list[Any]:
    plan = GENERATION | {"generation": {"max_new_tokens": evaluation}}
    rows = [TokenRow(PROMPT, ([2] * completion, [2])), TokenRow([1], ([2] * 5, [2] * 5))]
    return check_positions(config_of("copg", evaluation=plan, **settings), model, rows, [PROMPT])


@pytest.mark.parametrize("name", TABLE)
def test_what_ends_with_its_table_is_refused_with_the_numbers(name: str) -> None:
    model = model_of(TABLE[name])
    model(input_ids=torch.ones(1, 32, dtype=torch.long))
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.ones(1, 33, dtype=torch.long))
    assert check(model, 12, evaluation=12) == [], "just fits"
    with pytest.raises(
        ConfigError, match=r"has 32 positions.* 33 \(a prompt of 20.* 13\): set max_prompt_tokens and max_c"
    ):
        check(model, 13)
    with pytest.raises(ConfigError, match=r"evaluations takes 70 .* evaluation\.generation\.max_new_tokens"):
        check(model, 2, evaluation=50)
    sampling = {"first": "policy", "second": "policy", "max_new_tokens": 40}
    with pytest.raises(ConfigError, match=r"in training takes 60 .*sampling\.max_new_tokens"):
        check(model, 2, sampling=sampling)


@pytest.mark.parametrize("name", COMPUTED)
def test_what_computes_its_positions_goes_on_and_says_so(name: str) -> None:
    model = model_of(COMPUTED[name])
    assert model(input_ids=torch.ones(1, 40, dtype=torch.long)).logits.isfinite().all()
    [warning] = check(model, 13)
    assert (warning.section, "33 (a prompt of 20" in warning.values["positions"]) == ("warning", True)
    assert check(model, 12) == []


def test_a_model_without_a_limit_has_none() -> None:
    config = BloomConfig(vocab_size=40, hidden_size=16, n_layer=1, n_head=2)
    assert check(model_of(config), 500) == []


@pytest.mark.parametrize("algorithm", ["sft", "reward_model", "copg"])
def test_a_run_is_refused_while_it_is_prepared(algorithm: str, tmp_path: Path) -> None:
    """A GPT-2 of eight positions, for rows that are longer; with as many as they take nothing is said."""

    def prepared(positions: int) -> list[Any]:
        config = config_of(algorithm)
        nano = load_policy(config.policy, config.data, seed=0)
        shape = GPT2Config(vocab_size=len(nano.tokenizer), n_embd=16, n_layer=1, n_head=2, n_positions=positions)
        folder = tmp_path / str(positions)
        model_of(shape).save_pretrained(folder)
        nano.tokenizer.save_pretrained(folder)
        config = config_of(algorithm, policy={"kind": "folder", "path": str(folder)})
        return prepare(config, Surroundings(Processes(torch.device("cpu")))).reports

    with pytest.raises(ConfigError, match=r"has 8 positions, but the longest row of the data takes \d+"):
        prepared(8)
    assert not any("positions" in report.values for report in prepared(512))
