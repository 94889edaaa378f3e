"""The ways a run can fail, each with a sentence that a person understands.

CopgError
 ├── ConfigError       the configuration asks for something impossible
 ├── DataError         a data source is missing, unreadable, empty or has other columns than expected
 ├── ModelError        a model, tokenizer or adapter cannot be loaded or does not fit its role
 ├── RewardError       a reward is NaN, infinite or cannot be computed
 ├── CheckpointError   a checkpoint lacks something or belongs to another run
 ├── DivergenceError   training left the region where its numbers mean anything
 ├── MemoryLimitError  one row, the weights or the optimizer do not fit into memory
 └── StorageError      the disk is full or a folder may not be written

`kind` is the stable word that the database, the API and the page use for each of them.
"""

from __future__ import annotations


class CopgError(Exception):
    """Base of every failure that is explained to the user; `str(error)` is that explanation."""

    kind = "error"


class ConfigError(CopgError):
    """The configuration is well-formed but asks for something that cannot be done."""

    kind = "config"


class DataError(CopgError):
    """A data source cannot be used. Says which file, which row, and what was expected.

    >>> print(DataError("has no column 'summary'", source="posts.csv", row=3))
    posts.csv, row 3: has no column 'summary'
    """

    kind = "data"

    def __init__(self, message: str, *, source: str | None = None, row: int | None = None) -> None:
        self.source = source
        self.row = row
        place = ", ".join(part for part in (source, f"row {row}" if row is not None else None) if part)
        super().__init__(f"{place}: {message}" if place else message)


class ModelError(CopgError):
    """A model, tokenizer or adapter cannot be loaded or does not fit the role it is given."""

    kind = "model"


class RewardError(CopgError):
    """A reward is not a finite number, or the reward function itself failed."""

    kind = "reward"


class CheckpointError(CopgError):
    """A checkpoint is incomplete, unreadable or was written by another configuration."""

    kind = "checkpoint"


class DivergenceError(CopgError):
    """Training diverged: a number is no longer finite, the policy is far from its reference, or the reward collapsed."""

    kind = "diverged"


class MemoryLimitError(CopgError):
    """Memory ran out and nothing is left to be given up for it. Says what to change."""

    kind = "memory"


class StorageError(CopgError):
    """The disk is full, or a folder that the run needs may not be read or written."""

    kind = "storage"
