"""The line of runs and the switch of the queue."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from backend.schemas.runs import ParentRef


class QueuedRun(BaseModel):
    """A run that waits, and for what."""

    position: int | None = Field(description="Place in the line, from 1; null while it waits for other runs.")
    id: str
    name: str
    algorithm: str
    state: Literal["queued", "waiting"]
    priority: int
    queue: str
    gpus: int | None = Field(description="null: one where the worker has any.")
    reason: str = Field(
        description="What it waits for, as a sentence without its beginning.",
        examples=["waits for 4 GPUs; the largest worker has 2", "the queue is paused"],
    )
    waits_for: list[ParentRef] = Field(description="Runs that must end first.")
    attempt: int
    not_before: datetime | None = Field(description="When its next attempt may begin, after one that was lost.")
    expected_at: datetime | None = Field(description="When room for it is expected; null where nobody can tell.")
    created_at: datetime


class QueueState(BaseModel):
    paused: bool
    paused_since: datetime | None
    paused_by: str | None


class QueueOut(QueueState):
    items: list[QueuedRun] = Field(
        description="In the order in which they start; those that wait for others stand last."
    )
    queued: int
    waiting: int
