"""Figures of a run, and what was added to them since."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

FigureName = Literal[
    "reward", "accuracy", "kl", "explained_contrast", "log_ratios", "loss", "gradient_norm", "length", "throughput"
]  # fmt: skip


class FigureOut(BaseModel):
    """A Plotly figure and where its data ends: ask `/points?after=cursor` for what came since."""

    figure: dict[str, Any]
    cursor: str = Field(description="Opaque; hand it back as `after`.")
    fence: int
    empty: bool = Field(description="Nothing to draw yet.")


class GpuFigureOut(FigureOut):
    """What GPUs did until now."""

    reason: str = Field(description="Why there is nothing to draw; empty where there is something.")
    hosts: list[str] = Field(description="Machines whose GPUs are known, also those that were not asked for.")
    sampled_at: datetime | None = Field(description="When any GPU was last heard of.")
    width_seconds: float = Field(description="Time that a point stands for: sooner, asking again shows little new.")


class TracePoints(BaseModel):
    x: list[float]
    y: list[float | None]


class FigurePoints(BaseModel):
    """What to append to each trace, in order. `reset`: the run was resumed, fetch the whole figure again."""

    cursor: str
    fence: int
    reset: bool
    traces: list[TracePoints] = Field(description="One for each trace of the figure, in its order.")


class TraceTail(BaseModel):
    start: int = Field(description="Point from which the trace goes on; what the viewer has from there is dropped.")
    arrays: dict[str, list[Any]] = Field(description="`x`, `y` and, where the trace has it, `customdata`.")


class FigureTails(BaseModel):
    """How each trace goes on. `reset`: more has changed than ends, fetch the whole figure again."""

    cursor: str
    reset: bool
    traces: list[TraceTail] = Field(description="One for each trace of the figure, in its order.")


class FigureInfo(BaseModel):
    name: FigureName
    title: str


class RunFigures(BaseModel):
    items: list[FigureInfo]
