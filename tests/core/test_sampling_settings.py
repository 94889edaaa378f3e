"""What the settings of sampling allow and say, and data of which the prompts are enough."""

from __future__ import annotations

from pathlib import Path

import pytest

from copg_core.config import parse_config, variant_of
from copg_core.datasets import load_prompts
from copg_core.errors import ConfigError, DataError
from copg_core.sources import FileData
from tests.core.conftest import run
from tests.core.test_sampling import BOTH, preference


def test_what_cannot_be_scored_is_refused_beside_its_field() -> None:
    data = {"kind": "file", "path": "pairs.jsonl"}
    for wrong in ({"algorithm": "copg", "sampling": BOTH}, {"algorithm": "policy_gradient", "baseline": "value"}):
        with pytest.raises(ConfigError, match=r"(sampling|baseline): .*choose a reward that can"):
            parse_config(wrong | {"data": data, "reward": {"kind": "data"}})


@pytest.mark.parametrize(
    ("line", "prompt"),
    [
        ('{"question": "1+1?", "answer": "#### 2"}', "1+1?"),
        ('{"prompt": "x"}', "x"),
        ('{"prompt": "x", "chosen": "a", "rejected": "b"}', "x"),
        ('{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}', "user: Hi\nassistant:"),
    ],
)  # fmt: skip
def test_prompts_are_enough_where_the_policy_writes_everything(tmp_path: Path, line: str, prompt: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(line + "\n")
    split = load_prompts(FileData(path=str(path), validation_share=0))
    assert [(row.prompt, row.completion) for row in split.train] == [(prompt, "")]


def test_a_prompt_keeps_the_answer_that_its_reward_reads(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "1+1?", "answer": "#### 2"}\n')
    split = load_prompts(FileData(path=str(path), validation_share=0, context=["answer"]))
    assert dict(split.train[0].context) == {"answer": "#### 2"}


def test_a_run_whose_policy_writes_says_so_beside_its_name() -> None:
    cases = {
        None: preference(),
        "policy": preference(sampling=BOTH),
        "leave-one-out, data and policy, share 0.25": preference(
            group="leave_one_out", sampling={"first": "data", "second": "policy", "share": 0.25}
        ),
        "value baseline": preference("policy_gradient", baseline="value"),
        "per token, policy and replay": preference(
            "ipo", normalisation="mean", sampling={"first": "policy", "second": "replay"}
        ),
    }
    assert {variant_of(config.model_dump()): config for config in cases.values()} == cases


def test_an_on_policy_run_needs_no_pairs(tmp_path: Path) -> None:
    recorder, _ = run(preference(sampling=BOTH, steps=2), tmp_path)
    assert recorder.report("truncation")["completions"] == 0
    assert "validation_loss" not in recorder.of("evaluation")[-1].values
    assert recorder.of("evaluation")[-1].reward_mean is not None


def test_gsm8k_questions_are_trained_on_without_a_single_completion_of_the_data(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f'{{"question": "{i} + {i}?", "answer": "#### {2 * i}"}}\n' for i in range(12)))
    reward = {"kind": "function", "name": "gsm8k", "reference": "answer"}
    data = {"kind": "file", "path": str(path), "validation_share": 0.2}
    config = preference(data=data, reward=reward, sampling=BOTH, batch_size=4, steps=2)
    recorder, _ = run(config, tmp_path / "run")
    assert recorder.report("data")["shape"] == "question"
    assert {event.values["fresh_reward"] for event in recorder.of("metrics")} <= {0.0, 0.125, 0.25, 0.375}
    with pytest.raises(DataError, match="one completion for each prompt"):
        run(preference(data=data, reward=reward, steps=2), tmp_path / "pairs")
