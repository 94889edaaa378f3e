"""A real pretrained model through the same path, on a few rows of text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from copg_core.datasets import load_demonstrations
from copg_core.train import train
from tests.core.conftest import Remembering, config_of

SUBJECTS = ["cat", "dog", "girl", "boy", "bird", "bear", "fish", "frog"]


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    rows = [
        {
            "prompt": f"Once upon a time there was a little {subject} who lived in house {number}.",
            "chosen": f" The {subject} was very happy.",
            "rejected": f" {number} {subject} xq zzz.",
        }
        for number in range(6)
        for subject in SUBJECTS
    ]
    path = tmp_path / "stories.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"kind": "file", "path": str(path), "validation_share": 0.25}


def test_a_pretrained_model_goes_through_all_three_stages(stories: str, data: dict[str, Any], tmp_path: Path) -> None:
    common = {"policy": {"kind": "folder", "path": stories}, "data": data, "steps": 10}
    faster = {"optimizer": {"learning_rate": 1e-3, "warmup_share": 0}}
    recorder = Remembering()
    judge = train(config_of("reward_model", **common, **faster), recorder, folder=tmp_path / "rm")
    facts = recorder.report("validation")
    assert facts["accuracy"] > 0.8, "words against noise are told apart within ten steps"
    assert facts["ties"] == 0
    for algorithm, reward in (("copg", {"kind": "run", "run": str(judge.output)}), ("ipo", {"kind": "data"})):
        recorder = Remembering()
        config = config_of(algorithm, **common, reward=reward, beta=0.1)
        train(config, recorder, folder=tmp_path / algorithm)
        evaluations = recorder.of("evaluation")
        assert evaluations[0].kl == pytest.approx(0, abs=1e-4)
        assert evaluations[-1].values["accuracy"] > evaluations[0].values["accuracy"]
        assert (evaluations[-1].reward_mean is None) == (algorithm == "ipo")
        assert evaluations[-1].gold_mean is None
        assert recorder.report("model")["packed_rows"]
        assert all(sample.kl is not None and sample.length > 0 for sample in evaluations[-1].samples)


def test_its_loss_is_the_one_that_transformers_computes(stories: str, data: dict[str, Any], tmp_path: Path) -> None:
    """Mean over all completion tokens (EOS included) of the library's own cross-entropy, one unpadded row at a time."""
    recorder = Remembering()
    config = config_of("sft", policy={"kind": "folder", "path": stories}, data=data, steps=1)
    train(config, recorder, folder=tmp_path / "sft")
    model = AutoModelForCausalLM.from_pretrained(stories, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(stories)
    total, tokens = 0.0, 0
    for row in load_demonstrations(config.data).validation[:8]:
        prompt = [tokenizer.bos_token_id, *tokenizer(row.prompt, add_special_tokens=False)["input_ids"]]
        completion = [*tokenizer(row.completion, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        labels = torch.tensor([[-100] * len(prompt) + completion])
        loss = model(input_ids=torch.tensor([prompt + completion]), labels=labels).loss
        total, tokens = total + loss.item() * len(completion), tokens + len(completion)
    assert recorder.of("evaluation")[0].values["validation_loss"] == pytest.approx(total / tokens, rel=1e-5)
    assert recorder.of("evaluation")[0].reward_mean is None
