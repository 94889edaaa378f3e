"""Workers and health."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field


class GpuOut(BaseModel):
    index: int
    uuid: str
    name: str
    memory_total: int | None = Field(description="Bytes.")
    memory_used: int | None = Field(description="Bytes, by whomever.")
    utilisation: int | None = Field(description="Percent of time in which something was computed.")
    run: str | None = Field(description="Id of the run that has it.")
    run_name: str | None
    algorithm: str | None = Field(description="What the run trains; `trial`: it is one of the playground.")


class WorkerOut(BaseModel):
    name: str
    host: str
    pid: int
    queue: str
    slots: int = Field(description="Runs that fit at once: one for each GPU, and the CPU slots.")
    cpu_slots: int
    busy: int
    version: str
    devices: list[dict[str, Any]]
    gpus: list[GpuOut]
    draining: bool = Field(description="It hands its runs back with a checkpoint and leaves.")
    alive: bool
    seen_seconds_ago: float
    started_at: datetime


class WorkerList(BaseModel):
    items: list[WorkerOut]
    queued: int
    running: int
    waiting: int
    gpus_sampled_at: datetime | None = Field(
        description="When any GPU was last heard of: from then on its figures show more. None: not within the time that is kept."
    )


class Health(BaseModel):
    status: Literal["ok", "degraded"]
    version: str
    database: Literal["ok", "down"]
    broker: Literal["ok", "down"]
    workers: int
    detail: str = ""
