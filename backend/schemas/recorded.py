"""What a run has recorded: curves, evaluations, samples, log, files."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field


class Series(BaseModel):
    steps: list[int]
    values: list[float | None]


class Curves(BaseModel):
    """Points after `after`, thinned to at most `max_points` for each name. When `fence` changes, start again from 0."""

    fence: int
    last_step: int | None = Field(description="The last step of these points; `after` where there are none.")
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
