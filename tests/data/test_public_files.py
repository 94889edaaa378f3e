"""Real public files, loaded as they are: every row is used, or counted as dropped for a reason that the file shows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from copg_core.datasets import Dialogue, check, load_comparisons, load_demonstrations, preview
from copg_core.errors import DataError
from copg_core.sources import FileData

SHARED = Path(os.environ.get("COPG_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))

# file -> shape, rows, and what SFT and preference runs drop of them (None: the file has no pairs)
FILES: dict[str, tuple[str, int, int, int | None]] = {
    "tldr_comparisons/human_pairs.jsonl.gz": ("prompt/chosen/rejected", 2_482, 0, 1),  # one rejected summary is empty
    "tldr_comparisons/winner_loser_8000_no_post.jsonl.gz": ("chosen/rejected without prompt", 8_000, 0, 0),
    "tldr_sft_reddit2013/train.jsonl.gz": ("post/summary", 18_579, 0, None),
    "tldr_sft_reddit2013/valid.jsonl.gz": ("post/summary", 1_074, 0, None),
    "tldr_sft_reddit2013/test.jsonl.gz": ("post/summary", 1_055, 0, None),
    "reddit_selftext_pretrain/posts.jsonl.gz": ("text", 94_848, 0, None),
    "hh_rlhf_test/helpful-base.test.jsonl.gz": ("chosen/rejected dialogues", 2_354, 0, 6),  # empty answers, equal pairs
    "hh_rlhf_test/helpful-rejection-sampled.test.jsonl.gz": ("chosen/rejected dialogues", 2_749, 0, 32),  # equal pairs
    "code_mbpp_humaneval/HumanEval.jsonl.gz": ("prompt/canonical_solution", 164, 0, None),
    "code_mbpp_humaneval/mbpp.jsonl": ("text/code", 974, 0, None),
    "code_mbpp_humaneval/sanitized-mbpp.json": ("prompt/code", 427, 0, None),
    "gsm8k/train.jsonl.gz": ("question/answer", 7_473, 0, None),
    "gsm8k/test.jsonl.gz": ("question/answer", 1_319, 0, None),
}


def shared(name: str) -> str:
    if not (SHARED / name).is_file():
        pytest.skip(f"{SHARED / name} is absent: set COPG_SHARED_DATA to the folder with public test data")
    return str(SHARED / name)


@pytest.mark.parametrize("name", FILES)
def test_every_row_is_used_or_counted(name: str) -> None:
    shape, rows, dropped, dropped_pairs = FILES[name]
    source = FileData(path=shared(name))
    check(source, "sft")
    assert preview(source, "sft", 3).shape == shape
    shown = load_demonstrations(source)
    assert shown.report["rows_read"] == rows
    assert len(shown.train) + len(shown.validation) == rows - dropped
    assert 0.02 < len(shown.validation) / rows < 0.09
    if dropped_pairs is None:
        with pytest.raises(DataError, match="need pairs"):
            check(source, "copg")
        return
    check(source, "copg")
    pairs = load_comparisons(source)
    assert len(pairs.train) + len(pairs.validation) == rows - dropped_pairs
    assert {(row.reward_1, row.reward_2) for row in pairs.train} == {(0.5, 0.0)}


def test_tldr_comparisons_by_their_own_split() -> None:
    """What the README of the file says: 1,420 training pairs, 386 + 676 validation pairs."""
    source = FileData(
        path=shared("tldr_comparisons/human_pairs.jsonl.gz"),
        where={"split": ["train"]},
        validation_where={"split": ["valid1", "valid2"]},
    )
    split = load_comparisons(source)
    counts = (len(split.train), len(split.validation), split.report["dropped_empty_completion"])
    assert sum(map(int, counts)) == 1_420 + 386 + 676  # type: ignore[arg-type]
    assert all(row.prompt.endswith("TL;DR:") for row in split.train)


def test_hh_dialogues_know_their_turns() -> None:
    split = load_comparisons(FileData(path=shared("hh_rlhf_test/helpful-base.test.jsonl.gz")))
    for row in split.train:
        assert isinstance(row.prompt, Dialogue)
        assert row.prompt.endswith("\n\nAssistant:")
        assert row.prompt.turns[0]["role"] == "user"
        assert row.prompt.turns[-1]["role"] == "user"


def test_the_suggested_filter_of_the_reddit_file() -> None:
    source = FileData(path=shared("tldr_sft_reddit2013/train.jsonl.gz"), where={"sensitive": ["false"]}, limit=200)
    split = load_demonstrations(source)
    assert len(split.train) == 200
    assert split.train[0].prompt.startswith("SUBREDDIT: r/")
    assert split.report["rows_filtered_out"]
