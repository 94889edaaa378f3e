"""Data sets: registered, uploaded, looked at."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from backend.schemas.body import Body, Name
from backend.states import RunState
from copg_core.config import Algorithm
from copg_core.recipe import Sampling
from copg_core.sources import DataSource, ModelSource

DatasetState = Literal["analysing", "ready", "unreadable"]


class DatasetCreate(Body):
    """A data source that is there already: a file of the studio's machine, the hub, the built-in task."""

    name: str = Field(min_length=1, max_length=200, examples=["TL;DR comparisons"])
    source: DataSource = Field(discriminator="kind")


class DatasetPatch(Body):
    """What is not named stays. Another understanding of the columns has the file analysed again."""

    name: Name | None = None
    columns: dict[str, str] | None = Field(
        None, description="Role -> column of the file.", examples=[{"prompt": "question", "completion": "answer"}]
    )
    prompt_template: str | None = Field(None, max_length=20_000, description="Format string over the row's columns.")


class DatasetOut(BaseModel):
    """One row of the list. Its `source` is what a run's `data` field takes."""

    id: str | None = Field(description="Null for the built-in task.")
    name: str
    source: dict[str, Any]
    shape: str = Field(description="How the columns were understood, for example `post/summary`.")
    rows: int | None = Field(description="Rows of the file; null where they are not counted, or not all.")
    content_hash: str | None = Field(description="SHA-256 of the file's bytes, in hex.")
    created_at: datetime | None
    state: DatasetState = Field("ready", description="`analysing`: a pass over the file is due or under way.")
    error: str | None = Field(None, description="Why it is unreadable, with file and row.")
    file_name: str | None = Field(None, description="Of an uploaded file.")
    bytes: int | None = Field(None, description="Size of an uploaded file.")
    rows_read: int = Field(0, description="So far, while it is analysed.")
    runs: int = Field(0, description="How many runs read it.")
    deleted_at: datetime | None = None


class DatasetList(BaseModel):
    items: list[DatasetOut]
    next_cursor: str | None
    upload_max_bytes: int = Field(description="Larger files are refused.")


class UploadOut(DatasetOut):
    existing: bool = Field(description="The same content was there already: nothing was added.")


class RunRef(BaseModel):
    """A run that reads a data set."""

    id: str
    name: str
    state: RunState


class LengthReport(BaseModel):
    """Lengths in characters. The histogram has one count less than edges; `beyond` are longer than its end."""

    n: int
    mean: float
    median: int
    p95: int
    max: int
    edges: list[int]
    counts: list[int]
    beyond: int


class ContrastReport(BaseModel):
    """Differences of the rewards of a pair (of a larger group: between its best and its worst), in reward units."""

    n: int
    mean: float | None
    deviation: float | None
    min: float
    max: float
    zeros: int = Field(description="Pairs with equal rewards.")
    edges: list[float]
    counts: list[int]
    sampled: bool = Field(description="The histogram is that of 50,000 of them.")


class DuplicateReport(BaseModel):
    """Texts are compared by 64-bit digests, over all rows that can be used."""

    rows: int = Field(description="Rows that are equal to an earlier one, rewards included.")
    prompts: int = Field(description="Rows whose prompt an earlier row had.")
    distinct_prompts: int
    distinct_normalised_prompts: int = Field(description="Without case, punctuation and spacing.")
    swapped_pairs: int = Field(description="Different pairs that stand in the file in both orders.")
    one_of: int = Field(description="1: counted. Larger: estimated from one of so many texts.")


class SplitValue(BaseModel):
    name: str
    rows: int
    prompts: int


class SplitOverlap(BaseModel):
    first: str
    second: str
    prompts: int = Field(description="Different prompts that stand in both.")
    normalised: int = Field(description="The same without case, punctuation and spacing.")


class SplitReport(BaseModel):
    """The parts that a column like `split` makes, and the prompts that they share."""

    column: str
    values: list[SplitValue]
    overlaps: list[SplitOverlap]


class ShownRow(BaseModel):
    """A row that training keeps, its texts cut at 4,000 characters."""

    row: int
    prompt: str
    prompt_length: int
    completions: list[str]
    completion_lengths: list[int]
    rewards: list[float] | None


class DatasetReport(BaseModel):
    """What one pass over the file found."""

    shape: str
    pairs: bool
    completions: int = Field(description="Most completions of one prompt.")
    columns: list[str]
    mapping: dict[str, str] = Field(description="Role -> column.")
    rows: int
    usable: int
    dropped: dict[str, int] = Field(description="Reason -> rows that no run uses.")
    stopped: str | None = Field(description="Where the pass ended early; null: at the end of the file.")
    empty_prompts: int
    rewards: Literal["none", "order", "given"] = Field(
        description="`order`: which completion is better, not by how much."
    )
    contrast: ContrastReport | None
    lengths: dict[str, LengthReport]
    duplicates: DuplicateReport
    splits: SplitReport | None
    preview: list[ShownRow]


class DatasetDetail(DatasetOut):
    report: DatasetReport | None
    used_by: list[RunRef] = Field(description="The newest fifty.")
    figures: list[str] = Field(description="Names for `/figures/data/{dataset_id}/{figure}`.")
    revision: int = Field(description="Grows each time that it is to be looked through anew.")


class OverlapOut(BaseModel):
    """Prompts that two data sets share: what a model trained on the first has seen of the second."""

    first: str
    second: str
    prompts: int = Field(description="Different prompts of both.")
    normalised: int = Field(description="The same without case, punctuation and spacing.")
    second_rows: int = Field(description="Rows of the second whose prompt the first has, by normalised text.")
    second_usable: int
    one_of: int = Field(description="1: counted. Larger: estimated from one of so many texts.")


class TokensRequest(Body):
    policy: ModelSource = Field(discriminator="kind", description="The model whose tokens are counted.")
    max_prompt_tokens: int = Field(512, ge=1, le=1_000_000)
    max_completion_tokens: int = Field(128, ge=1, le=1_000_000)
    rows: int = Field(1000, ge=1, le=5000, description="Read from the beginning of the file.")


class TokenLengths(BaseModel):
    """Lengths in tokens, and the share that a limit would cut; all zero where `n` is, as completions are of prompts alone."""

    n: int
    mean: float
    p50: int
    p95: int
    p99: int
    max: int
    limit: int
    truncated_share: float


class RowTokens(BaseModel):
    row: int
    prompt: int
    completions: list[int]


class TokensOut(BaseModel):
    prompts: TokenLengths
    completions: TokenLengths
    rows: list[RowTokens] = Field(description="The first fifty rows that training keeps, each by itself.")
    tokenizer: str = Field(description="What counted the tokens.")


class PreviewRow(BaseModel):
    """The first 20,000 characters of each text."""

    prompt: str
    completion: str | None = None
    completion_1: str | None = None
    completion_2: str | None = None
    reward_1: float | None = None
    reward_2: float | None = None


class DatasetPreview(BaseModel):
    shape: str = Field(description="How the columns were understood, for example `post/summary`.")
    columns: list[str]
    mapping: dict[str, str]
    rows: list[PreviewRow]
    counted_rows: int | None


class PreviewRequest(Body):
    source: DataSource = Field(discriminator="kind")
    algorithm: Algorithm = "copg"
    rows: int = Field(5, ge=1, le=50)
    sampling: Sampling | None = Field(
        None,
        description="The configuration's `sampling`: where the policy writes every completion, prompts are enough.",
    )

    @property
    def prompts_alone(self) -> bool:
        """Whether the run would use the prompts alone."""
        return (
            self.algorithm not in ("sft", "reward_model") and self.sampling is not None and self.sampling.prompts_alone
        )
