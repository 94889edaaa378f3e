"""Pipelines: several runs asked for as one request."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from backend.schemas.body import Body
from backend.schemas.runs import RunSummary


class PipelineStep(Body):
    alias: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="Other steps refer to it as `$alias`.")
    config: dict[str, Any] = Field(description="A run configuration in which `run` may be `$alias`.")
    name: str | None = Field(None, max_length=200)


class PipelineCreate(Body):
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
