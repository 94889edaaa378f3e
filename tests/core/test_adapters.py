"""Adapters travel in peft's format, and what is not whole is refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from copg_core.errors import ModelError
from copg_core.layout import lay_out
from copg_core.logprobs import CodePath, CompletionLogProbs
from copg_core.policies import load_policy, load_reward_model
from copg_core.sources import FolderModel, TaskData
from tests.core.conftest import ROWS, config_of, run, weights

PATH = CodePath(packed=True, chunked=True)
SHORT: dict[str, Any] = {
    "steps": 3,
    "optimizer": {"learning_rate": 1e-2},
    "evaluation": {"every": 50, "prompts": 2},
    "checkpoints": {"every": 2},
}
LORA = {"enabled": True, "rank": 2}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    _, outcome = run(config_of("sft", **SHORT), tmp_path_factory.mktemp("base"))
    assert outcome.output is not None
    return outcome.output


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    policy = {"kind": "folder", "path": str(base)}
    _, outcome = run(config_of("copg", policy=policy, lora=LORA, **SHORT), tmp_path_factory.mktemp("lora"))
    assert outcome.output is not None
    return outcome.output


def log_probs(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return CompletionLogProbs(model, PATH)(lay_out(ROWS, packed=True, pad=0))  # type: ignore[no-any-return]


def loaded(folder: Path) -> Any:
    return load_policy(FolderModel(kind="folder", path=str(folder)), TaskData()).model


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_peft_itself_reads_them_and_they_make_the_merged_model(base: Path, trained: Path) -> None:
    from peft import PeftModel

    adapted = PeftModel.from_pretrained(loaded(base), str(trained / "adapters")).eval()
    expected = log_probs(loaded(trained))
    assert not torch.allclose(expected, log_probs(loaded(base)), atol=1e-2)
    torch.testing.assert_close(log_probs(adapted), expected, rtol=0, atol=1e-4)


def test_a_folder_of_adapters_is_a_model_to_start_from(trained: Path) -> None:
    torch.testing.assert_close(log_probs(loaded(trained / "adapters")), log_probs(loaded(trained)), rtol=0, atol=1e-4)


@pytest.mark.parametrize("damage", ["missing", "extra", "shape", "nan", "unreadable", "no_base"])
def test_damaged_adapters_are_refused_by_name(damage: str, trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapters"
    shutil.copytree(trained / "adapters", folder)
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    name = sorted(tensors)[3]
    expected = name.replace(".", r"\.")
    if damage == "missing":
        del tensors[name]
    elif damage == "extra":
        expected = "surplus"
        tensors["surplus"] = torch.ones(1)
    elif damage == "shape":
        tensors[name] = tensors[name][:1].contiguous()
    elif damage == "nan":
        tensors[name][0, 0] = torch.nan
    save_file(tensors, file)
    if damage == "unreadable":
        expected = "cannot be loaded"
        file.write_bytes(b"not tensors")
    if damage == "no_base":
        expected = "does not say which model"
        config = folder / "adapter_config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": None}))
    with pytest.raises(ModelError, match=expected):
        loaded(folder)


def test_the_head_of_an_adapted_reward_model_is_trained_saved_and_demanded(base: Path, tmp_path: Path) -> None:
    config = config_of("reward_model", policy={"kind": "folder", "path": str(base)}, lora=LORA, **SHORT)
    _, outcome = run(config, tmp_path)
    assert outcome.output is not None
    head = weights(outcome)["score.weight"]
    at_step_2 = load_file(tmp_path / "checkpoints" / "step-2" / "model.safetensors")["score.weight"]
    assert not torch.equal(head, at_step_2), "the head stands still"
    assert torch.equal(load_reward_model(outcome.output)[0].score.weight, head)
    assert (outcome.output / "adapters" / "adapter_model.safetensors").is_file()
    file = outcome.output / "reward_model.safetensors"
    save_file({name: tensor for name, tensor in load_file(file).items() if name != "score.weight"}, file)
    with pytest.raises(ModelError, match=r"score\.weight"):
        load_reward_model(outcome.output)
