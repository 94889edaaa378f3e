"""The miniature task: gold rewards derived by hand, and the statistics that the experiments rely on."""

from __future__ import annotations

import statistics
from collections import Counter

import pytest

from copg_core.datasets import load_comparisons, load_demonstrations
from copg_core.sources import TaskData
from copg_core.tasks import TASKS
from copg_core.tasks.posts import SLOT_OF, SLOTS, read_facts
from copg_core.tasks.summaries import FILLERS, full_summary

TASK = TASKS["miniature"]
FACTS = {"who": "uncle", "verb": "stole", "thing": "bike", "where": "beach", "feel": "angry", "ask": "sue"}
POST = (
    "sister seems sad . i feel angry now . my uncle stole my bike . should i sue ? they say wait . "
    "it happened at the beach . TL;DR:"
)


@pytest.mark.parametrize(
    ("summary", "finished", "gold"),
    [
        ("uncle stole my bike at beach , feel angry , sue ?", True, 6.0),  # six facts in twelve words
        ("uncle stole my bike", True, 3.0),  # three facts
        ("stole", True, 1.0),
        ("sister stole my bike", True, 2 - 1.5),  # the post names the sister, but not as the thief
        ("uncle stole my bike , feel sad , wait ?", True, 3 - 1.5 * 2),
        ("so uncle stole my bike at beach , feel angry , sue ?", True, 6 - 0.2),  # thirteen words
        ("uncle stole my bike , feel angry , feel angry", True, 4.0),  # said twice, counted once
        ("uncle stole my bike at beach , feel angry , feel angry , sue ?", True, 6 - 0.2 * 3),
        ("uncle stole bike", True, 3 - 0.5),  # verb-thing is no pair of the language
        ("bike uncle", True, 2 - 0.5 * 3),  # start-thing, thing-who, who-end
        ("uncle stole my bike", False, 3 - 1.0),
        ("uncle stole my", False, 2 - 1.0),  # it may go on, so its last pair is not judged
        ("uncle stole my", True, 2 - 0.5),
        ("", True, -0.5),  # nothing: start-end is no pair
        ("banana", True, -0.5 * 2),  # a word that the language lacks fits nowhere
    ],
)
def test_gold_reward_by_hand(summary: str, finished: bool, gold: float) -> None:
    assert TASK.gold(POST, summary, finished) == pytest.approx(gold)


def test_the_full_summary_of_every_post_is_worth_six_and_beats_every_other_candidate() -> None:
    for row in TASK.comparisons(300, seed=5):
        best = TASK.gold(row.prompt, full_summary(read_facts(row.prompt)))
        assert best == 6.0
        assert TASK.gold(row.prompt, row.completion_1) <= best
        assert TASK.gold(row.prompt, row.completion_2) <= best


def test_rows_depend_on_seed_part_and_index_alone() -> None:
    assert TASK.comparisons(40, 3) == TASK.comparisons(80, 3)[:40]
    assert TASK.demonstrations(40, 3) == TASK.demonstrations(80, 3)[:40]
    assert TASK.demonstrations(40, 3) != TASK.demonstrations(40, 4)
    assert TASK.demonstrations(40, 3) != TASK.demonstrations(40, 3, "validation")


def test_no_validation_post_is_a_training_post_whatever_the_seed() -> None:
    def facts(rows: list) -> set[str]:  # type: ignore[type-arg]
        return {" ".join(read_facts(row.prompt).values()) for row in rows}

    training = facts(TASK.demonstrations(6_000, 0)) | facts(TASK.comparisons(3_000, 1))
    validation = facts(TASK.comparisons(2_000, 0, "validation")) | facts(TASK.demonstrations(2_000, 2, "validation"))
    assert len(validation) > 3_900
    assert not training & validation


def test_every_word_is_in_the_vocabulary_and_every_word_of_it_is_used() -> None:
    rows = TASK.demonstrations(3_000, 0)
    words = {word for row in rows for word in f"{row.prompt} {row.completion}".split()}
    vocabulary = TASK.vocabulary()
    assert words == set(vocabulary)
    assert len(vocabulary) == len(set(vocabulary)) <= 110


def test_words_of_different_slots_do_not_meet() -> None:
    assert len(SLOT_OF) == sum(map(len, SLOTS.values()))


def test_the_writer_leaves_room_to_improve() -> None:
    rows = TASK.demonstrations(4_000, 0, "validation")  # no reading exercises among them
    gold = [TASK.gold(row.prompt, row.completion) for row in rows]
    assert 2.3 < statistics.mean(gold) < 3.1
    pattern = Counter(
        tuple("filler" if word in FILLERS else SLOT_OF.get(word, word) for word in row.completion.split())
        for row in rows
    )
    modal = pattern.most_common(1)[0][0]
    assert sum(word in SLOTS for word in modal) <= 4, "the modal summary tells less than the full one"
    assert sum(value == 6 for value in gold) / len(gold) < 0.05
    lengths = [len(row.prompt.split()) for row in rows]
    assert 28 < statistics.mean(lengths) < 34
    assert max(lengths) <= 40


def test_half_of_the_training_rows_are_reading_exercises_and_no_validation_row_is() -> None:
    rows = TASK.demonstrations(2_000, 0)
    exercises = [row for row in rows if row.prompt.endswith("FACTS:")]
    assert 0.45 < len(exercises) / len(rows) < 0.55
    for row in exercises[:100]:
        assert row.completion == " ".join(read_facts(row.prompt)[slot] for slot in SLOTS)
    assert all(row.prompt.endswith("TL;DR:") for row in TASK.demonstrations(500, 0, "validation"))
    assert all(row.prompt.endswith("TL;DR:") for row in TASK.comparisons(500, 0))


def test_labels_are_a_bradley_terry_draw_on_gold() -> None:
    """Among pairs of unequal gold the label is right as often as sigma(|contrast|) says, which is about 84 %."""
    rows = TASK.comparisons(8_000, 0)
    contrasts = [TASK.gold(row.prompt, row.completion_1) - TASK.gold(row.prompt, row.completion_2) for row in rows]
    told = [(c, row.reward_1 == 0.5) for c, row in zip(contrasts, rows, strict=True) if c]
    right = statistics.mean((c > 0) == first for c, first in told)
    expected = statistics.mean(1 / (1 + 2.718281828 ** -abs(c)) for c, _ in told)
    standard_error = (expected * (1 - expected) / len(told)) ** 0.5
    assert abs(right - expected) < 4 * standard_error
    assert 0.82 < right < 0.86
    assert 0.45 < statistics.mean(row.reward_1 == 0.5 for row in rows) < 0.55, "the better one is not always first"
    assert all({row.reward_1, row.reward_2} == {0.0, 0.5} for row in rows)


def test_a_task_loads_as_a_split_with_its_report() -> None:
    source = TaskData(train_size=64, validation_size=16, seed=7)
    pairs, shown = load_comparisons(source), load_demonstrations(source)
    assert (len(pairs.train), len(pairs.validation)) == (64, 16)
    assert shown.train == TASK.demonstrations(64, 7)
    assert pairs.report["train_rows"] == 64
    assert pairs.report["content_hash"] == shown.report["content_hash"]
