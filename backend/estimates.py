"""What a run would cost on the devices that are known here, before it is launched: the words are copg_core's."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend import dispatch, store
from backend.database import NOW
from backend.models import Node, Run
from backend.schemas.body import Body
from backend.settings import Settings
from copg_core.config import RunConfig, parse_config
from copg_core.errors import ConfigError
from copg_core.estimate import Machine, RunEstimate, duration, estimate_run, size
from copg_core.inputs import Lookup

NOBODY = "the device (no worker has told of one)"


class EstimateRequest(Body):
    config: RunConfig = Field(discriminator="algorithm")
    device: str | None = Field(
        None, max_length=200, description="Name of a device to estimate for, as its driver says it."
    )
    device_bytes: int | None = Field(None, ge=1, description="Its memory. Empty: the devices of the workers.")
    gpus: int | None = Field(
        None,
        ge=0,
        le=64,
        description="What the run would ask of the queue, as when it is launched. Changes `obstacle` alone.",
    )


class EstimatedPart(BaseModel):
    name: str
    title: str
    explanation: str
    bytes: int
    size: str = Field(description="The same for people.")
    phase: Literal["always", "step", "generation", "scoring"]
    at_peak: bool = Field(description="Whether it stands in memory at the moment that needs the most.")


class EstimatedStage(BaseModel):
    name: str
    title: str
    explanation: str
    seconds: float
    duration: str


class DeviceEstimate(BaseModel):
    """A run on one device. What could not be told is null, and `unknown` says why."""

    device: str
    device_bytes: int | None
    total_bytes: int | None
    total_size: str | None
    fits: bool | None
    verdict: str
    gradient_checkpointing: bool
    parts: list[EstimatedPart]
    seconds: float | None
    duration: str | None
    stages: list[EstimatedStage]
    unknown: list[str]


class EstimateOut(BaseModel):
    items: list[DeviceEstimate] = Field(description="One for each kind of device, GPUs before processors.")
    obstacle: str | None = Field(
        description="Why none of the workers that are here could train it, in the words of the queue; null where one could."
    )


def machines(session: Session, lease_seconds: float) -> list[Machine]:
    """The kinds of devices that living workers train on: the GPUs of a machine that has some, else its processor."""
    nodes = session.scalars(select(Node).where(Node.seen > NOW - lease_seconds).order_by(Node.name)).all()
    found: dict[tuple[str, int | None], Machine] = {}
    for node in nodes:
        gpus = [device for device in node.devices if device.get("kind") == "gpu"]
        for device in gpus or node.devices:
            mebibytes = device.get("memory_mb")
            memory = None if mebibytes is None else int(mebibytes) * 2**20
            cpu = device.get("kind") != "gpu"
            name = f"the processor of {node.host}" if cpu else str(device.get("name", "GPU"))
            found.setdefault((name, memory), Machine(name, memory, cpu=cpu))
    return sorted(found.values(), key=lambda machine: (machine.cpu, -(machine.memory or 0), machine.name))


def lookup(session: Session, data: Path) -> Lookup:
    """Parents as the database knows them: where a finished one left its model, and what a planned one will train. `data` is
    the data folder as it stands now."""

    def row(uid: str) -> Run | None:
        return session.scalars(select(Run).where(Run.uid == uid)).one_or_none()

    def output(uid: str) -> Path:
        run = None if "/" in uid else row(uid)
        here = store.as_path(store.standing(run.output_path, data)) if run is not None and run.output_path else None
        return here or Path(uid)  # of one in an object store, what was planned is told

    def config(uid: str) -> RunConfig | None:
        run = row(uid)
        try:
            return None if run is None else parse_config(run.config)
        except ConfigError:
            return None  # it was stored by an older version

    return Lookup(output, config)


def answer(estimate: RunEstimate) -> DeviceEstimate:
    """An estimate as JSON."""
    memory, time = estimate.memory, estimate.time
    peak = set(memory.peak_parts()) if memory else set()
    return DeviceEstimate(
        device=estimate.machine.name,
        device_bytes=estimate.machine.memory,
        total_bytes=memory.total if memory else None,
        total_size=size(memory.total) if memory else None,
        fits=memory.fits if memory else None,
        verdict=estimate.verdict,
        gradient_checkpointing=bool(memory and memory.gradient_checkpointing),
        parts=[
            EstimatedPart(
                name=part.name,
                title=part.title,
                explanation=part.explanation,
                bytes=part.bytes,
                size=size(part.bytes),
                phase=part.phase,
                at_peak=part in peak,
            )
            for part in (memory.parts if memory else ())
        ],
        seconds=time.total if time else None,
        duration=("at most " if time.at_most else "about ") + duration(time.total) if time else None,
        stages=[
            EstimatedStage(
                name=stage.name,
                title=stage.title,
                explanation=stage.explanation,
                seconds=stage.seconds,
                duration=duration(stage.seconds),
            )
            for stage in (time.stages if time else ())
        ],
        unknown=list(estimate.unknown),
    )


def estimates(session: Session, request: EstimateRequest, settings: Settings) -> EstimateOut:
    """One estimate for each kind of device, or for the device that was asked for."""
    if request.device is not None or request.device_bytes is not None:
        asked = [Machine(request.device or "the device", request.device_bytes)]
    else:
        asked = machines(session, settings.lease_seconds) or [Machine(NOBODY, None)]
    found = lookup(session, settings.data_path)
    return EstimateOut(
        items=[answer(estimate_run(request.config, machine, found)) for machine in asked],
        obstacle=dispatch.obstacle(session, settings, request.gpus),
    )
