"""Rows of a built-in task, as a split like any other. Torch-free."""

from __future__ import annotations

import hashlib

from copg_core.rows import Comparison, Demonstration, Preview, Split
from copg_core.sources import TaskData
from copg_core.tasks import TASKS

# Enters the content hash: raise it when the same seed would generate other text.
TEXT_VERSION = 1


def demonstrations(source: TaskData) -> Split[Demonstration]:
    task = TASKS[source.task]
    train = task.demonstrations(source.train_size, source.seed, "train")
    validation = task.demonstrations(source.validation_size, source.seed, "validation")
    return Split(train, validation, _report(source, len(train), len(validation)))


def comparisons(source: TaskData) -> Split[Comparison]:
    task = TASKS[source.task]
    train = task.comparisons(source.train_size, source.seed, "train")
    validation = task.comparisons(source.validation_size, source.seed, "validation")
    identical = sum(len(set(row.completions)) == 1 for row in train)
    return Split(train, validation, {**_report(source, len(train), len(validation)), "identical_pairs": identical})


def prompts(source: TaskData) -> Split[Demonstration]:
    """The prompts of the task's comparisons: no reading exercises among them."""
    split = comparisons(source)
    train, validation = ([Demonstration(row.prompt, "") for row in rows] for rows in (split.train, split.validation))
    return Split(train, validation, split.report)


def preview(source: TaskData, *, pairs: bool, rows: int, prompts: bool = False) -> Preview:
    task = TASKS[source.task]
    if prompts:
        first_prompts = [
            Demonstration(row.prompt, "") for row in task.comparisons(min(rows, source.train_size), source.seed)
        ]
        mapping = {"prompt": "prompt"}
        return Preview(f"built-in task {source.task}", ["prompt"], mapping, first_prompts, source.train_size)
    roles = ["prompt", "completion_1", "completion_2", "reward_1", "reward_2"] if pairs else ["prompt", "completion"]
    first: list[Demonstration] | list[Comparison] = (
        task.comparisons(min(rows, source.train_size), source.seed)
        if pairs
        else task.demonstrations(min(rows, source.train_size), source.seed)
    )
    return Preview(f"built-in task {source.task}", roles, {role: role for role in roles}, first, source.train_size)


def content_hash(source: TaskData) -> str:
    text = f"{source.task} {TEXT_VERSION} {source.seed} {source.train_size} {source.validation_size}"
    return hashlib.sha256(text.encode()).hexdigest()


def _report(source: TaskData, train: int, validation: int) -> dict[str, str | int | float | bool | None]:
    return {
        "source": f"built-in task {source.task}, seed {source.seed}",
        "train_rows": train,
        "validation_rows": validation,
        "content_hash": content_hash(source),
    }
