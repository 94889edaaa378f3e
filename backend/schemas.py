"""The JSON of the API: what requests carry and what answers hold. Times are RFC 3339 in UTC, ids are opaque strings."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from backend.states import RunState
from copg_core.config import Algorithm, RunConfig
from copg_core.sources import DataSource


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RunCreate(_In):
    config: RunConfig = Field(discriminator="algorithm")
    name: str | None = Field(None, max_length=200, description="Empty: made from algorithm and beta.")
    notes: str = Field("", max_length=20_000)
    priority: int = Field(0, ge=-100, le=100, description="A higher one is trained first.")


class RunPatch(_In):
    name: str | None = Field(None, min_length=1, max_length=200)
    notes: str | None = Field(None, max_length=20_000)
    priority: int | None = Field(None, ge=-100, le=100)


class ParentRef(BaseModel):
    role: str
    id: str
    name: str
    state: RunState


class RunSummary(BaseModel):
    """One row of the runs table; also what rides on a live event."""

    id: str
    name: str
    algorithm: Algorithm
    variant: str | None = Field(
        None, description="Stands behind the algorithm's name: such runs compare among themselves."
    )
    beta: float | None
    state: RunState
    stage: str | None = Field(description="What a running run is doing: loading, reference, training, evaluating, ...")
    stage_done: int
    stage_total: int
    step: int
    total_steps: int | None
    remaining_seconds: float | None = Field(description="Estimated; null until it can be estimated.")
    last_reward: float | None
    priority: int
    attempt: int
    pipeline: str | None
    parents: list[str]
    error: str | None
    error_kind: str | None
    fence: int
    rev: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class RunDetail(RunSummary):
    config: dict[str, Any]
    notes: str
    report: dict[str, Any] = Field(description="Truncation counts, ties dropped, self-check, versions; by section.")
    parent_runs: list[ParentRef]
    children: list[ParentRef]
    checkpoint_step: int | None
    events: list[RunEventOut]


class RunEventOut(BaseModel):
    origin: RunState | None
    target: RunState
    reason: str
    actor: str
    at: datetime


class RunList(BaseModel):
    items: list[RunSummary]
    next_cursor: str | None
    total: int


class PipelineStep(_In):
    alias: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="Other steps refer to it as `$alias`.")
    config: dict[str, Any] = Field(description="A run configuration in which `run` may be `$alias`.")
    name: str | None = Field(None, max_length=200)


class PipelineCreate(_In):
    """Either a built-in preset with its size, or a list of steps."""

    preset: Literal["miniature"] | None = None
    size: Literal["ci", "laptop"] = "laptop"
    name: str | None = Field(None, max_length=200)
    steps: list[PipelineStep] = Field(default_factory=list, max_length=100)


class PipelineOut(BaseModel):
    id: str
    name: str
    preset: str | None
    size: str | None
    created_at: datetime
    runs: list[RunSummary]


class PipelineList(BaseModel):
    items: list[PipelineOut]
    next_cursor: str | None


class Series(BaseModel):
    steps: list[int]
    values: list[float | None]


class Curves(BaseModel):
    """Points after `after`, thinned to at most `max_points` for each name. When `fence` changes, start again from 0."""

    fence: int
    last_step: int | None
    names: list[str] = Field(description="Every metric that the run has, also those not asked for.")
    series: dict[str, Series]


class EvaluationOut(BaseModel):
    step: int
    n: int
    reward_mean: float | None
    reward_stderr: float | None
    kl: float | None
    length_mean: float | None
    unfinished_share: float | None
    gold_mean: float | None
    values: dict[str, float | None]
    recorded_at: datetime


class EvaluationList(BaseModel):
    fence: int
    items: list[EvaluationOut]


class SampleOut(BaseModel):
    step: int
    prompt_index: int
    prompt: str
    completion: str
    reward: float | None
    gold: float | None
    kl: float | None
    length: int
    finished: bool


class SampleList(BaseModel):
    steps: list[int] = Field(description="Every step that has samples.")
    step: int | None
    items: list[SampleOut]
    next_cursor: str | None
    total: int


class LogChunk(BaseModel):
    """Bytes `offset` to `next_offset` of the log; `size` is where it ends now."""

    text: str
    offset: int
    next_offset: int
    size: int


class CheckpointOut(BaseModel):
    step: int
    path: str
    bytes: int
    created_at: datetime


class CheckpointList(BaseModel):
    items: list[CheckpointOut]


class ArtifactOut(BaseModel):
    name: str
    bytes: int


class ArtifactList(BaseModel):
    path: str | None
    items: list[ArtifactOut]


class AlgorithmOut(BaseModel):
    """What the launch form is made from."""

    algorithm: Algorithm
    title: str
    description: str
    config_schema: dict[str, Any] = Field(description="JSON Schema of the configuration; fields carry `unit`.")
    defaults: dict[str, Any] = Field(description="A whole configuration with the paper's settings.")


class AlgorithmList(BaseModel):
    items: list[AlgorithmOut]


class ModelOut(BaseModel):
    """A model that a run can start from, or a reward model that it can be scored by."""

    kind: Literal["preset", "run"]
    source: dict[str, Any] = Field(description="Value of a config's `policy` or `reward` field.")
    title: str
    description: str
    role: Literal["policy", "reward"]
    run: str | None


class ModelList(BaseModel):
    items: list[ModelOut]


class DatasetCreate(_In):
    name: str = Field(min_length=1, max_length=200)
    source: DataSource = Field(discriminator="kind")


class DatasetOut(BaseModel):
    id: str | None = Field(description="Null for the built-in task.")
    name: str
    source: dict[str, Any]
    shape: str
    rows: int | None
    content_hash: str | None
    created_at: datetime | None


class DatasetList(BaseModel):
    items: list[DatasetOut]


class PreviewRow(BaseModel):
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


class PreviewRequest(_In):
    source: DataSource = Field(discriminator="kind")
    algorithm: Algorithm = "copg"
    rows: int = Field(5, ge=1, le=50)


class WorkerOut(BaseModel):
    name: str
    host: str
    pid: int
    queue: str
    slots: int
    busy: int
    version: str
    devices: list[dict[str, Any]]
    alive: bool
    seen_seconds_ago: float
    started_at: datetime


class WorkerList(BaseModel):
    items: list[WorkerOut]
    queued: int
    running: int
    waiting: int


class Health(BaseModel):
    status: Literal["ok", "degraded"]
    version: str
    database: Literal["ok", "down"]
    broker: Literal["ok", "down"]
    workers: int
    detail: str = ""


class FigureOut(BaseModel):
    """A Plotly figure and where its data ends: ask `/points?after=cursor` for what came since."""

    figure: dict[str, Any]
    cursor: str = Field(description="Opaque; hand it back as `after`.")
    fence: int
    empty: bool = Field(description="Nothing to draw yet.")


class FigurePoints(BaseModel):
    """What to append to each trace, in order. `reset`: the run was resumed, fetch the whole figure again."""

    cursor: str
    fence: int
    reset: bool
    traces: list[TracePoints] = Field(description="One for each trace of the figure, in its order.")


class TracePoints(BaseModel):
    x: list[float]
    y: list[float | None]


FigureName = Literal[
    "reward", "accuracy", "kl", "explained_contrast", "log_ratios", "loss", "gradient_norm", "length", "throughput"
]  # fmt: skip


class FigureInfo(BaseModel):
    name: FigureName
    title: str


class RunFigures(BaseModel):
    items: list[FigureInfo]


class FieldError(BaseModel):
    field: str = Field(description="Dotted path below the request body, for example `config.beta`.")
    message: str


class Problem(BaseModel):
    """RFC 9457 problem details: the one shape of every error."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str | None = None
    errors: list[FieldError] = Field(default_factory=list)


RunDetail.model_rebuild()
FigurePoints.model_rebuild()
