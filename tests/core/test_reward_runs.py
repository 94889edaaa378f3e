"""Whole runs on rewards that read the row: scored once, recorded by term, answered from the cache only where nothing changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from copg_core.datasets import load_comparisons
from copg_core.errors import RewardError
from copg_core.sources import FileData
from tests.core.conftest import Remembering, config_of, run
from tests.core.rewards_bench import sandbox_or_skip

# `second` is the better of each pair: it is the reference itself.
ROWS = [
    {"prompt": f"say {i}", "response_1": "something else", "response_2": f"number {i}", "gist": f"number {i}"}
    for i in range(12)
]
ROUGE = {"kind": "function", "name": "rouge_l", "reference": "gist"}
SUM = {
    "kind": "sum",
    "rewards": [
        {"weight": 2.0, "reward": ROUGE},
        {"weight": 0.5, "reward": {"kind": "function", "name": "length", "options": {"target": 4}}},
    ],
}


def _write(file: Path, rows: list[dict[str, Any]]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def _run(folder: Path, rows: list[dict[str, Any]], reward: dict[str, Any], algorithm: str = "copg") -> Remembering:
    data = {"kind": "file", "path": _write(folder / "rows.jsonl", rows), "validation_share": 0.3}
    config = config_of(algorithm, data=data, reward=reward, steps=1, batch_size=4)
    seen, _ = run(config, folder / "run", cache_folder=folder / "cache")
    return seen


def test_a_sum_is_scored_once_and_recorded_by_term(tmp_path: Path) -> None:
    """A pair is (0, 1) in ROUGE-L and (-1/2, -1/2) in length, so R = (-1/4, 2 - 1/4): contrast 2, mean 3/4."""
    seen = _run(tmp_path, ROWS, SUM)
    pairs, rewards = seen.report("pairs"), seen.report("rewards")
    assert (pairs["reward_contrast_mean"], pairs["reward_mean"]) == (2.0, 0.75)
    assert (rewards["min"], rewards["max"], rewards["outliers"]) == (-0.25, 1.75, 0)
    assert rewards["completions"] == 2 * pairs["train"]
    for evaluation in seen.of("evaluation"):
        values = evaluation.values
        assert evaluation.reward_mean == pytest.approx(2 * values["reward_rouge_l"] + 0.5 * values["reward_length"])
        assert values["reward_min"] <= evaluation.reward_mean <= values["reward_max"]
    assert not pairs["rewards_from_cache"]


def test_the_cache_follows_what_the_row_knows(tmp_path: Path) -> None:
    assert not _run(tmp_path, ROWS, ROUGE).report("pairs")["rewards_from_cache"]
    assert _run(tmp_path, ROWS, ROUGE).report("pairs")["rewards_from_cache"]
    changed = _run(tmp_path, [row | {"gist": "something else"} for row in ROWS], ROUGE).report("pairs")
    assert not changed["rewards_from_cache"]
    assert changed["reward_mean"] == 0.5


def test_a_reward_that_stands_out_is_reported_with_its_prompt(tmp_path: Path) -> None:
    rows = [row | {"reward_1": i / 10, "reward_2": i / 10 + 0.05} for i, row in enumerate(ROWS)]
    source = FileData(path=_write(tmp_path / "rows.jsonl", rows), validation_share=0.3)
    trained = load_comparisons(source).train[0].prompt
    rows = [row | {"reward_2": 900.0} if row["prompt"] == trained else row for row in rows]
    report = _run(tmp_path, rows, {"kind": "data"}).report("rewards")
    assert (report["max"], report["outliers"]) == (900.0, 1)
    assert f"for the prompt {trained!r}" in report["outlier_1"]


def test_a_term_that_fails_ends_the_run_with_its_prompt(tmp_path: Path) -> None:
    gsm8k = {"kind": "function", "name": "gsm8k", "reference": "gist"}
    with pytest.raises(
        RewardError, match=r"'gsm8k' failed on the prompt 'say \d+': the reference 'number \d+' holds no"
    ):
        _run(tmp_path, ROWS, {"kind": "sum", "rewards": [{"reward": ROUGE}, {"reward": gsm8k}]})


def test_code_is_rewarded_by_its_tests_and_orders_pairs_for_dpo(tmp_path: Path) -> None:
    sandbox_or_skip()
    tests = [{"test_list": [f"assert x == {i}", "assert x > 0"]} for i in range(1, 9)]
    rows = [
        {"prompt": f"set {i}", "response_1": "x = 0", "response_2": f"x = {i}", **test}
        for i, test in enumerate(tests, 1)
    ]
    pairs = _run(tmp_path, rows, {"kind": "unit_tests", "score": "all"}, "dpo").report("pairs")
    assert (pairs["reward_mean"], pairs["reward_contrast_mean"], pairs["ties_dropped"]) == (0.5, 1.0, 0)
