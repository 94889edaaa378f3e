"""More than two completions of a prompt: one packed row, all pairs, leave-one-out, and the data that has them."""

from __future__ import annotations

import json
import random
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from copg_core.config import parse_config
from copg_core.datasets import load_comparisons
from copg_core.errors import DataError
from copg_core.layout import TokenRow, lay_out
from copg_core.logprobs import CodePath, CompletionLogProbs
from copg_core.losses import copg_loss, leave_one_out_loss
from copg_core.objectives import Contrast, Preference, Table, pair_contrasts, pairs_of
from copg_core.pairs import chosen_first, fit_groups, preferred_first
from copg_core.rows import Comparison
from copg_core.sources import FileData
from copg_core.tasks import TASKS
from copg_core.train import train
from tests.core.conftest import Remembering, config_of, tiny_llama

FOUR = [
    TokenRow([1, 5, 6, 7, 8, 9], ([10, 11, 12, 2], [13, 2], [14], [15, 16, 17, 18, 19, 2])),
    TokenRow([1], ([2], [23, 24, 25, 26], [30, 31, 2], [30, 31, 2])),
    TokenRow([1, 27, 28, 29], ([5, 6], [7, 8, 9, 2], [5, 2], [3, 4, 2])),
]


@pytest.mark.parametrize("chunked", [True, False])
def test_a_row_of_four_completions_gives_the_log_probs_of_separate_forwards(float64_norm: None, chunked: bool) -> None:
    model = tiny_llama().double()
    with torch.no_grad():
        packed = CompletionLogProbs(model, CodePath(True, chunked))(lay_out(FOUR, packed=True, pad=0))
        for b, row in enumerate(FOUR):
            for k, completion in enumerate(row.completions):
                alone = lay_out([TokenRow(row.prompt, (completion,))], packed=False, pad=0)
                expected = CompletionLogProbs(model, CodePath(False, False))(alone)
                assert packed[b, k].item() == pytest.approx(expected.item(), abs=1e-12, rel=0)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_all_pairs_of_copg_has_twice_the_gradient_of_leave_one_out(count: int) -> None:
    """Property 2 at K = 2, and for every K (derived in leave_one_out_loss)."""
    generator = torch.Generator().manual_seed(count)
    h, reward = torch.randn(2, 7, count, generator=generator, dtype=torch.float64)
    h.requires_grad_()
    first, second = pairs_of(count)
    pairs = [values.flatten() for values in (h[:, first], h[:, second], reward[:, first], reward[:, second])]
    all_pairs = copg_loss(*pairs, beta=0.3).view(7, -1).mean(1).sum()
    (of_pairs,) = torch.autograd.grad(all_pairs, h)
    (of_loo,) = torch.autograd.grad(leave_one_out_loss(h, reward, beta=0.3).sum(), h)
    torch.testing.assert_close(of_pairs, 2 * of_loo, rtol=0, atol=1e-14)


def test_the_objective_of_all_pairs_is_their_mean_written_out() -> None:
    rng = np.random.default_rng(0)
    table = Table(FOUR, rng.normal(size=(3, 4)), rng.integers(0, 3, (3, 4)).astype(float))
    output = torch.from_numpy(rng.normal(size=(3, 4)))
    h, reward, beta = output.numpy() - table.reference, table.rewards, 0.3
    terms = {
        "copg": lambda dh, dr: -(dr - beta / 2 * dh) * dh,
        "dpo": lambda dh, dr: np.log1p(np.exp(-beta * dh)),
        "ipo": lambda dh, dr: (dh - 1 / (2 * beta)) ** 2,
    }
    for algorithm, term in terms.items():
        objective = Contrast(config_of(algorithm, completions=4, beta=beta))  # type: ignore[arg-type]
        losses = objective.losses(output, table, [0, 1, 2])
        for row in range(3):
            pairs = [
                term(h[row, i] - h[row, j], reward[row, i] - reward[row, j])
                for i, j in combinations(range(4), 2)
                if algorithm == "copg" or reward[row, i] != reward[row, j]
            ]
            assert losses[row].item() == pytest.approx(np.mean(pairs) if pairs else 0.0, abs=1e-12)
    metrics = Contrast(config_of("copg", completions=4)).metrics(output.numpy(), table, [0, 1, 2])  # type: ignore[arg-type]
    assert metrics["reward_contrast"] == pytest.approx(np.abs(pair_contrasts(reward)).mean())
    assert metrics["log_ratio"] == pytest.approx(h.mean())
    best = [
        h[n, i] if reward[n, i] >= reward[n, j] else h[n, j] for n in range(3) for i, j in combinations(range(4), 2)
    ]
    assert metrics["log_ratio_preferred"] == pytest.approx(np.mean(best))


def test_a_reward_model_learns_from_all_ordered_pairs_of_a_row() -> None:
    """Rewards 3 > 1 = 1: the pair of equals says nothing, and the two others count one half each."""
    table = Table([TokenRow([1], ([2], [3], [4]))], rewards=np.array([[3.0, 1.0, 1.0]]))
    output = torch.tensor([[0.5, -0.5, 2.0]], dtype=torch.float64)
    expected = -(torch.sigmoid(torch.tensor([1.0, -1.5], dtype=torch.float64)).log()).mean()
    objective = Preference(3)
    assert objective.losses(output, table, [0]).item() == pytest.approx(expected.item(), abs=1e-12)
    assert objective.metrics(output.numpy(), table, [0])["accuracy"] == 0.5


def test_rows_are_put_in_the_order_of_their_rewards() -> None:
    table = Table(
        FOUR, np.arange(12.0).reshape(3, 4), np.array([[1, 3, 2, 3], [5, 5, 5, 5], [0, 0, 0, 1]], dtype=float)
    )
    ordered = preferred_first(table)
    assert [row.prompt for row in ordered.rows] == [FOUR[0].prompt, FOUR[2].prompt]
    assert ordered.rewards.tolist() == [[3, 3, 2, 1], [1, 0, 0, 0]]
    assert ordered.reference.tolist() == [[1, 3, 2, 0], [11, 8, 9, 10]]
    assert ordered.rows[0].completions == tuple(FOUR[0].completions[k] for k in (1, 3, 2, 0))
    group = Comparison("x", "a", "b", 1.0, 3.0, further_completions=("c",), further_rewards=(2.0,))
    assert chosen_first([group])[0] == Comparison(
        "x", "b", "c", 3.0, 2.0, further_completions=("a",), further_rewards=(1.0,)
    )


def test_groups_are_cut_to_k_or_dropped_and_both_are_counted() -> None:
    rows = [
        Comparison("x", "a", "b"),
        Comparison("x", "a", "b", 1.0, 2.0, further_completions=("c", "d"), further_rewards=(3.0, 4.0)),
    ]
    kept, counts = fit_groups(rows, 3)
    assert kept == [Comparison("x", "a", "b", 1.0, 2.0, further_completions=("c",), further_rewards=(3.0,))]
    assert counts == {"groups_cut": 1, "groups_too_small_dropped": 1}
    assert fit_groups(rows, 2)[0] == [rows[0], Comparison("x", "a", "b", 1.0, 2.0)]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (
            {"prompt": "x", "completions": ["a", "b", "c"], "rewards": [1, 2, 3]},
            Comparison("x", "a", "b", 1.0, 2.0, further_completions=("c",), further_rewards=(3.0,)),
        ),
        ({"question": "x", "responses": ["a", "b", "c"]}, Comparison("x", "a", "b", None, None, further_completions=("c",))),
        (
            {"prompt": "x", "completion_1": "a", "completion_2": "b", "completion_3": "c", "completion_4": "",
             "reward_1": 1, "reward_2": 2, "reward_3": 3, "reward_4": None},
            Comparison("x", "a", "b", 1.0, 2.0, further_completions=("c",), further_rewards=(3.0,)),
        ),
    ],
)  # fmt: skip
def test_columns_of_groups_are_recognised(tmp_path: Path, record: dict[str, Any], expected: Comparison) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(record) + "\n")
    assert load_comparisons(FileData(path=str(path), validation_share=0)).train == [expected]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"prompt": "x", "completions": ["a", "b"], "rewards": [1]}, "2 completions but 1 rewards"),
        ({"prompt": "x", "completions": ["a"]}, "expected two or more"),
        ({"prompt": "x", "completions": "a"}, "expected a list"),
        ({"prompt": "x", "completions": ["a", "b"], "rewards": [1, None]}, "all or none"),
        (
            {
                "prompt": "x",
                "completion_1": "a",
                "completion_2": "b",
                "completion_3": "c",
                "reward_1": 1,
                "reward_2": 2,
            },
            "one reward for each completion",
        ),
    ],
)
def test_groups_that_do_not_fit_together_are_named(tmp_path: Path, record: dict[str, Any], message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(record) + "\n")
    with pytest.raises(DataError, match=message):
        load_comparisons(FileData(path=str(path), validation_share=0))


def write_groups(path: Path, rows: int, completions: int) -> None:
    """Posts of the built-in task with several candidate summaries and their gold rewards."""
    task = TASKS["miniature"]
    rng = random.Random(0)
    words = ["i feel sad", "i met my friend", "they say it is fine", "my cat is at the park", "it happened now"]
    with path.open("w") as file:
        for row in task.comparisons(rows, seed=0):
            texts = [row.completion_1, row.completion_2, *rng.sample(words, completions - 2)]
            rewards = [task.gold(row.prompt, text) for text in texts]
            file.write(json.dumps({"prompt": row.prompt, "completions": texts, "rewards": rewards}) + "\n")


@pytest.mark.parametrize(
    "settings",
    [{"algorithm": "copg"}, {"algorithm": "copg", "group": "leave_one_out"}, {"algorithm": "dpo"},
     {"algorithm": "reward_model"}],
    ids=["copg", "leave-one-out", "dpo", "reward_model"],
)  # fmt: skip
def test_runs_of_four_completions_train(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Packed rows of four; the loss falls, or the explained contrast rises, within ten steps."""
    write_groups(tmp_path / "rows.jsonl", 40, 5)
    algorithm = settings.pop("algorithm")
    reward = {} if algorithm == "reward_model" else {"reward": {"kind": "data"}, "beta": 0.5}
    data = {"kind": "file", "path": str(tmp_path / "rows.jsonl"), "validation_share": 0.2}
    # Two bytes a token would make long rows: the task's own words are the vocabulary.
    _, tokenizer = train_sft(tmp_path)
    config = config_of(algorithm, data=data, completions=4, policy=tokenizer, steps=10, **settings, **reward)
    recorder = Remembering()
    train(config, recorder, folder=tmp_path / "run")
    pairs = recorder.report("pairs")
    assert pairs["groups_cut"] >= pairs["train"] > 20
    assert pairs["groups_too_small_dropped"] == 0
    metrics = recorder.of("metrics")
    if algorithm == "copg":  # the value of the leave-one-out loss means nothing: its weights are detached
        assert metrics[9].values["explained_contrast"] > metrics[0].values["explained_contrast"] + 0.02
    else:
        assert recorder.losses()[10] < recorder.losses()[1]
    assert recorder.of("evaluation")[-1].values["accuracy_stderr"] > 0
    assert "rows_per_second" in recorder.of("metrics")[0].values


def train_sft(folder: Path) -> tuple[Any, dict[str, str]]:
    """A model of the task's vocabulary to start from, trained for one step."""
    outcome = train(config_of("sft", steps=1), Remembering(), folder=folder / "sft")
    return outcome, {"kind": "run", "run": str(outcome.output)}


def test_k_has_bounds() -> None:
    with pytest.raises(Exception, match="completions"):
        parse_config({"algorithm": "copg", "completions": 1})
