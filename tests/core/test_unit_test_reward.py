"""The reward of code: which tests of its row a completion passes."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from copg_core.errors import RewardError
from copg_core.reward_sources import UnitTestReward
from copg_core.rewards.unit_tests import UnitTestScorer, code_of, statements_of
from tests.core.rewards_bench import sandbox_or_skip

CODE = Path(__file__).parents[3] / "shared" / "data" / "code_mbpp_humaneval"
ADD = "def add(a, b):\n    return a + b\n"
ROW = {"test_list": ["assert add(1, 2) == 3", "assert add('a', 'b') == 'ab'", "assert add(1, 1) == 3"]}


def _score(
    completions: list[str], rows: list[dict[str, Any]], prompts: list[str] | None = None, **source: Any
) -> list[float]:
    sandbox_or_skip()
    return (
        UnitTestScorer(UnitTestReward(**source)).score(prompts or ["p"] * len(rows), completions, None, rows).tolist()
    )


def test_the_share_of_tests_passed_or_all_or_nothing() -> None:
    fenced = f"Here it is:\n\n```python\n{ADD}```\nDone."
    assert _score([ADD, fenced, "no code"], [ROW] * 3) == [pytest.approx(2 / 3), pytest.approx(2 / 3), 0.0]
    easy = {"test_list": ROW["test_list"][:2]}
    assert _score([ADD, ADD], [ROW, easy], score="all") == [0.0, 1.0]


def test_rewards_stand_in_the_order_of_their_rows_however_many_run_at_once() -> None:
    rows = [{"test_list": [f"assert value == {i}"]} for i in range(12)]
    codes = [f"value = {i if i % 3 else -1}" for i in range(12)]
    seen: list[tuple[int, int]] = []
    sandbox_or_skip()
    scorer = UnitTestScorer(UnitTestReward(workers=4))
    rewards = scorer.score(["p"] * 12, codes, None, rows, lambda done, total: seen.append((done, total)))
    assert rewards.tolist() == [float(i % 3 > 0) for i in range(12)]
    assert seen == [(i, 12) for i in range(1, 13)]


def test_a_run_that_is_stopped_stops_scoring() -> None:
    def stop(done: int, total: int) -> None:
        raise RuntimeError("stopped")

    sandbox_or_skip()
    with pytest.raises(RuntimeError, match="stopped"):
        UnitTestScorer(UnitTestReward(workers=1)).score(["p"] * 4, [ADD] * 4, None, [ROW] * 4, stop)


def test_humaneval_continues_its_prompt_and_calls_check() -> None:
    row = {"test": "def check(candidate):\n    assert candidate(1, 2) == 3", "entry_point": "add"}
    prompt = 'def add(a, b):\n    """Add."""\n'
    options = {"tests": "test", "entry_point": "entry_point", "prompt_is_code": True}
    completions = ["    return a + b", "    return a - b", f"```python\n{ADD}```"]
    assert _score(completions, [row] * 3, [prompt] * 3, **options) == [1.0, 0.0, 1.0]


def test_a_row_without_tests_is_named() -> None:
    with pytest.raises(RewardError, match="the prompt 'p' has no tests in 'test_list'"):
        _score([ADD], [{"test_list": []}])
    with pytest.raises(RewardError, match="the prompt 'p' has no column 'test_list'"):
        _score([ADD], [{}])


def test_the_first_fenced_block_is_the_program() -> None:
    assert code_of("x = 1") == "x = 1"
    assert code_of("Try\n```py\nx = 1\n```\nor\n```\nx = 2\n```") == "x = 1\n"
    assert code_of("```\npip install x\n```\n```python\nx = 1\n```") == "x = 1\n", (
        "a marked block before an unmarked one"
    )
    assert code_of("1. So:\n   ```python\n   x = 1\n   ```") == "x = 1\n", "inside a list"
    assert code_of("```\r\nx = 1\r\n```") == "x = 1\r\n"
    assert code_of("```python\nx = 1") == "x = 1", "cut off before the fence closes"
    assert code_of("```json\n{}\n```\n") == "```json\n{}\n```\n", "another language is no program"


def test_tests_as_data_sets_write_them() -> None:
    assert statements_of(["a", "", None, "b"]) == ["a", "b"]
    assert statements_of('["a", "b"]') == ["a", "b"]
    assert statements_of("['a', \"b's\"]") == ["a", "b's"], "as pandas writes lists into CSV files"
    with pytest.raises(RewardError, match="not a table"):
        statements_of({"a": 1})
    assert statements_of("[x for x in y]") == ["[x for x in y]"]
    assert statements_of("assert x") == ["assert x"]
    assert statements_of(None) == statements_of("") == []


# ---------------------------------------------------------------- real programs


def _rows(name: str) -> list[dict[str, Any]]:
    file = CODE / name
    if not file.is_file():
        pytest.skip(f"the programs are not there: {file}")
    if name.endswith(".json"):
        return list(json.loads(file.read_text()))
    text = gzip.decompress(file.read_bytes()) if name.endswith(".gz") else file.read_bytes()
    return [json.loads(line) for line in text.splitlines()]


# Slow on a busy machine: its tests sum the divisors of every number up to 99999.
SLOW = {123}


@pytest.mark.parametrize(
    ("name", "prompt", "code", "source"),
    [
        ("mbpp.jsonl", "text", "code", {"setup": "test_setup_code"}),
        ("sanitized-mbpp.json", "prompt", "code", {"setup": "test_imports"}),
        (
            "HumanEval.jsonl.gz",
            "prompt",
            "canonical_solution",
            {"tests": "test", "entry_point": "entry_point", "prompt_is_code": True},
        ),
    ],
)
def test_published_solutions_pass_and_those_of_other_tasks_do_not(
    name: str, prompt: str, code: str, source: Any
) -> None:
    rows = random.Random(0).sample([row for row in _rows(name) if row["task_id"] not in SLOW], 14)
    prompts = [row[prompt] for row in rows]
    assert _score([row[code] for row in rows], rows, prompts, score="all", **source) == [1.0] * 14
    others = [row[code] for row in rows[1:] + rows[:1]]
    assert max(_score(others[:4], rows[:4], prompts[:4], **source)) == 0.0
