"""Runs: what is asked for, how they are listed, all about one."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field

from backend.early_stop import StoppedEarly
from backend.runs import Schedule
from backend.schemas.body import Body, Name, Notes
from backend.states import RunState
from copg_core.config import Algorithm, RunConfig


def _distinct(tags: list[str]) -> list[str]:
    return list(dict.fromkeys(tags))


Tag = Annotated[str, Field(pattern=r"^[\w.+:/-]+$", max_length=40)]
Tags = Annotated[
    list[Tag],
    Field(max_length=20, description="Short words to find the run by, at most 20.", examples=[["paper", "tuned"]]),
    AfterValidator(_distinct),
]
Priority = Annotated[int, Field(ge=-100, le=100, description="A higher one is trained first.")]


class RunCreate(Body):
    config: RunConfig = Field(discriminator="algorithm")
    name: str | None = Field(None, max_length=200, description="Empty: made from algorithm and beta.")
    notes: Notes = ""
    tags: Tags = Field(default_factory=list)
    priority: Priority = 0
    queue: str | None = Field(
        None, min_length=1, max_length=40, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", examples=["default"],
        description="Only workers that serve this queue (COPG_QUEUE) take the run. Empty: the API's own.",
    )  # fmt: skip
    gpus: int | None = Field(
        None, ge=0, le=64, examples=[1, 4],
        description="GPUs of one worker, all at once; 0: the processor. Empty: one where the worker has any.",
    )  # fmt: skip
    max_attempts: int = Field(
        3, ge=1, le=20, description="Attempts after a lost worker or a killed process, with growing waits between them."
    )
    max_seconds: float | None = Field(
        None, ge=1, le=100_000_000, examples=[86_400],
        description="Longest training time in seconds. Then the run writes a checkpoint and fails as `time_limit`; "
        "resuming it grants the time again. Empty: no limit.",
    )  # fmt: skip
    after: list[str] = Field(
        [],
        max_length=100,
        description="Ids of runs that must have succeeded before; if one does not, this is cancelled.",
    )
    after_any: list[str] = Field(
        [], max_length=100, description="Ids of runs that must have ended before, in whatever way."
    )

    @property
    def schedule(self) -> Schedule:
        """What the run asks of the queue."""
        return Schedule(self.gpus, self.max_attempts, self.max_seconds, tuple(self.after), tuple(self.after_any))


class RunPatch(Body):
    """What people may change about a run. What is left out, or null, stays as it is."""

    name: Name | None = None
    notes: Notes | None = None
    tags: Tags | None = None
    priority: Priority | None = None
    gpus: int | None = Field(None, ge=0, le=64, description="This, and what follows: only while the run waits.")
    max_attempts: int | None = Field(None, ge=1, le=20)
    max_seconds: float | None = Field(None, ge=1, le=100_000_000)


class ParentRef(BaseModel):
    role: str
    id: str
    name: str
    state: RunState


class RunEventOut(BaseModel):
    origin: RunState | None
    target: RunState
    reason: str
    actor: str
    at: datetime


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
    tags: list[str]
    attempt: int
    pipeline: str | None
    sweep: str | None = Field(None, description="Id of the sweep that made the run.")
    parents: list[str]
    error: str | None
    error_kind: str | None
    fence: int
    rev: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class RunDataRef(BaseModel):
    """An uploaded data set that a run reads. The hash says which file it was, also when that is gone."""

    id: str
    role: Literal["train", "validation"]
    name: str
    sha256: str | None
    deleted: bool


class RunDetail(RunSummary):
    config: dict[str, Any]
    notes: str
    edited: int = Field(description="How often people have changed it: the ETag that If-Match is held against.")
    report: dict[str, Any] = Field(description="Truncation counts, ties dropped, self-check, versions; by section.")
    data_sets: list[RunDataRef] = Field(default_factory=list, description="Uploaded data that it reads.")
    parent_runs: list[ParentRef]
    awaited_runs: list[ParentRef] = Field(description="Runs that it only waits for (`after`, `after_any`).")
    children: list[ParentRef]
    queue: str
    worker: str | None = Field(description="The worker that trains it now.")
    gpus: int | None
    gpu_indices: list[int] = Field(description="The worker's GPUs that are booked for it now.")
    max_attempts: int
    max_seconds: float | None
    checkpoint_step: int | None
    stopped_early: StoppedEarly | None = Field(None, description="Why its sweep stopped it early, where it did.")
    events: list[RunEventOut]


class RunList(BaseModel):
    items: list[RunSummary]
    next_cursor: str | None
    total: int


class RunFieldOut(BaseModel):
    """A field that `where` and `sort` understand."""

    field: str = Field(examples=["config.optimizer.learning_rate"])
    kind: str = Field(description="number, text, boolean or time; `number|text` where both occur, `any` where unknown.")


class RunFieldList(BaseModel):
    items: list[RunFieldOut]
