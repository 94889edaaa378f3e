"""Rewards behind one interface, and the cache that they share with the reference."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from copg_core.encoding import encode_prompt
from copg_core.errors import ConfigError, RewardError, StorageError
from copg_core.evaluate import pair_accuracy, standard_error
from copg_core.layout import TokenRow
from copg_core.objectives import Table
from copg_core.pairs import chosen_first, preferred_first
from copg_core.policies import load_policy, new_reward_model, save_reward_model
from copg_core.recipe import Lora
from copg_core.reference import cached, content_key, rows_hash
from copg_core.reward_sources import DataReward, GoldReward
from copg_core.rewards.load import load_scorer
from copg_core.rewards.models import RewardModelScorer
from copg_core.rewards.scorer import finite
from copg_core.rows import Comparison
from copg_core.sources import FileData, PresetModel, TaskData
from copg_core.tasks import TASKS
from tests.core.conftest import ROWS

CPU = torch.device("cpu")


@pytest.fixture
def judge(tmp_path: Path) -> Path:
    """A reward model with a byte tokenizer: not that of the task's policies."""
    policy = load_policy(PresetModel(size="nano"), FileData(path="rows.jsonl"), seed=4)
    manifest = {"config": {"max_prompt_tokens": 32, "max_completion_tokens": 16}}
    save_reward_model(tmp_path / "judge", new_reward_model(policy, Lora(), 4), policy.tokenizer, manifest)
    return tmp_path / "judge"


def test_gold_is_the_tasks_own_function() -> None:
    scorer = load_scorer(GoldReward(), TaskData(), CPU, torch.float32)
    assert scorer is not None
    row = TASKS["miniature"].comparisons(1, 0)[0]
    expected = TASKS["miniature"].gold(row.prompt, row.completion_1, finished=False)
    assert scorer.score([row.prompt], [row.completion_1], [False]).tolist() == [expected]


def test_the_datas_own_rewards_have_no_scorer_and_gold_needs_a_task() -> None:
    assert load_scorer(DataReward(), FileData(path="x"), CPU, torch.float32) is None
    with pytest.raises(ConfigError, match="built-in task"):
        load_scorer(GoldReward(), FileData(path="x"), CPU, torch.float32)


def test_a_reward_model_encodes_text_with_its_own_tokenizer_and_reads_the_last_token(judge: Path) -> None:
    scorer = RewardModelScorer(judge, CPU)
    prompts, completions = ["ab", "a much longer prompt than that", "c"], ["yes", "no", "a longer answer"]
    together = scorer.score(prompts, completions)
    tokenizer, model = scorer._tokenizer, scorer._model
    for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        ids = encode_prompt(tokenizer, prompt, 32) + tokenizer(completion, add_special_tokens=False)["input_ids"]
        hidden = model.decoder(input_ids=torch.tensor([[*ids, tokenizer.eos_token_id]])).last_hidden_state[0, -1]
        assert together[i] == pytest.approx(model.score(hidden).item(), abs=1e-5)
        assert scorer.score([prompt], [completion])[0] == pytest.approx(together[i], abs=1e-5)
    assert not np.allclose(scorer.score(prompts, completions, [False] * 3), together), "EOS is part of what is judged"


def test_the_fingerprint_follows_the_weights(judge: Path) -> None:
    before = RewardModelScorer(judge, CPU).fingerprint
    assert RewardModelScorer(judge, CPU).fingerprint == before
    manifest = json.loads((judge / "run.json").read_text())
    manifest["config"]["max_completion_tokens"] = 5
    (judge / "run.json").write_text(json.dumps(manifest))
    assert RewardModelScorer(judge, CPU).fingerprint != before


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_reward_that_is_no_number_names_its_prompt(wrong: float) -> None:
    with pytest.raises(RewardError, match=r"1 of 3 completions.*'second prompt'"):
        finite(np.array([1.0, wrong, 2.0]), ["first prompt", "second prompt", "third prompt"])


def test_a_reward_model_with_nan_weights_is_found_out(judge: Path) -> None:
    scorer = RewardModelScorer(judge, CPU)
    torch.nn.init.constant_(scorer._model.score.weight, float("nan"))
    with pytest.raises(RewardError, match="'hello'"):
        scorer.score(["hello"], ["world"])


# ---------------------------------------------------------------- order, accuracy


def test_pairs_are_put_in_the_order_of_their_rewards_with_all_that_belongs_to_them() -> None:
    rewards = np.array([[1.0, 2.0], [3.0, 0.0], [1.0, 1.0], [0.0, -1.0]])
    reference = np.array([[-1.0, -2.0], [-3.0, -4.0], [-5.0, -6.0], [-7.0, -8.0]])
    ordered = preferred_first(Table(ROWS, reference, rewards))
    assert ordered.rewards.tolist() == [[2.0, 1.0], [3.0, 0.0], [0.0, -1.0]]
    assert ordered.reference.tolist() == [[-2.0, -1.0], [-3.0, -4.0], [-7.0, -8.0]]
    assert [row.completions for row in ordered.rows] == [
        ROWS[0].completions[::-1],
        ROWS[1].completions,
        ROWS[3].completions,
    ]


def test_a_reward_model_trains_on_what_the_data_orders() -> None:
    rows = [
        Comparison("x", "a", "b", 0.5, 0.0),
        Comparison("x", "c", "d", 0.0, 0.5),
        Comparison("x", "e", "f", 1.0, 1.0),
        Comparison("x", "g", "h"),
    ]
    assert [(row.completion_1, row.completion_2) for row in chosen_first(rows)] == [("a", "b"), ("d", "c")]


def test_a_tie_is_not_right() -> None:
    """Of margins (1, 0, -1, 2) two are right: 0.5 with standard error sqrt(0.25 / 4) = 0.25, one tie."""
    facts = pair_accuracy(np.array([1.0, 0.0, -1.0, 2.0]))
    assert facts == {"accuracy": 0.5, "accuracy_stderr": 0.25, "ties": 1.0}
    assert pair_accuracy(np.array([1e-6, 1.0]), resolution=1e-4)["accuracy"] == 0.5
    assert pair_accuracy(np.zeros(3))["accuracy"] == 0


def test_standard_error_by_hand() -> None:
    """(1, 2, 3, 4): variance 5/3, so sqrt(5/3)/2 = 0.6455."""
    assert standard_error(np.array([1.0, 2.0, 3.0, 4.0])) == pytest.approx(0.6455, abs=1e-4)
    assert standard_error(np.array([1.0])) is None
    assert standard_error(None) is None


# ---------------------------------------------------------------- the cache


def test_cached_computes_once_and_again_when_the_file_is_damaged(tmp_path: Path) -> None:
    calls: list[int] = []

    def compute() -> np.ndarray:
        calls.append(1)
        return np.arange(6.0).reshape(3, 2)

    for expected in (False, True):
        table, hit = cached(tmp_path, "t", "key", (3, 2), compute)
        assert hit == expected
        assert table.tolist() == [[0, 1], [2, 3], [4, 5]]
    (file,) = tmp_path.glob("*.npy")
    file.write_bytes(file.read_bytes()[:40])
    assert cached(tmp_path, "t", "key", (3, 2), compute)[1] is False
    assert cached(tmp_path, "t", "key", (3, 2), compute)[1] is True
    assert len(calls) == 2
    assert cached(tmp_path, "t", "other", (3, 2), compute)[1] is False
    assert cached(None, "t", "key", (3, 2), compute)[1] is False
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".tmp")]


def test_a_cache_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cache file"):
        cached(tmp_path / "file" / "cache", "t", "key", (1, 2), lambda: np.zeros((1, 2)))


def test_keys_follow_the_token_ids_and_every_part() -> None:
    assert rows_hash(ROWS) != rows_hash(ROWS[::-1])
    assert rows_hash([TokenRow([1, 2], ([3],))]) != rows_hash([TokenRow([1], ([2, 3],))])
    assert content_key(weights="a", packed=True) != content_key(weights="a", packed=False)
