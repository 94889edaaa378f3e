"""Completions side by side."""

from __future__ import annotations

from pydantic import BaseModel, Field


class Piece(BaseModel):
    """A stretch of a completion; `new` against the first column's."""

    text: str
    new: bool


class Cell(BaseModel):
    pieces: list[Piece]
    same: bool = Field(description="Word for word what the first column has.")
    reward: float | None
    gold: float | None
    kl: float | None
    length: int
    finished: bool
    gain: float | None = Field(
        description="Reward minus the first column's; null in the first column, and where the two are not comparable."
    )


class SamplesRow(BaseModel):
    """One prompt: a cell for each column, null where that run did not have the prompt."""

    key: str = Field(description="The prompt's hash: the same in every run.")
    prompt: str
    cells: list[Cell | None]
    gain: float | None = Field(description="Reward of the column `focus` minus the first column's.")


class SamplesColumn(BaseModel):
    run: str
    name: str
    algorithm: str
    label: str = Field(description="What sets it apart from the other columns.")
    step: int | None = Field(description="Null while the run has no samples.")
    steps: list[int]
    n: int
    reward_mean: float | None
    gold_mean: float | None
    length_mean: float | None
    unfinished: int
    not_comparable: str | None = Field(
        description="Why its rewards are not compared with the first column's; null where they are."
    )


class SamplesCounts(BaseModel):
    """Prompts that each filter keeps, of the column `focus`."""

    unfinished: int
    rose: int = Field(description="Reward above the first column's.")
    fell: int
    rose_gold_fell: int = Field(description="Reward above, gold reward below the first column's.")


class SamplesSideBySide(BaseModel):
    columns: list[SamplesColumn]
    focus: int = Field(description="The column that is sorted and filtered by.")
    items: list[SamplesRow]
    total: int = Field(description="Prompts that the filter keeps.")
    prompts: int = Field(description="Prompts in all.")
    counts: SamplesCounts
    has_gold: bool = Field(description="Whether there is a gold reward beside the one that is maximised.")
    next_cursor: str | None
