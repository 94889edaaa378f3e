"""What runs leave behind, and what it takes up."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from backend.schemas.body import Body
from backend.states import RunState

ArtifactKind = Literal["checkpoint", "output", "log", "spool"]
FreeAction = Literal["cache", "fetched", "checkpoints", "orphans"]


class CheckpointOut(BaseModel):
    step: int
    path: str = Field(description="Where it stands: a path of the data folder, or a URL of the store.")
    bytes: int
    created_at: datetime
    pinned: bool = Field(description="Whether it is kept whatever the run's retention says.")
    reward: float | None = Field(description="Mean reward of the evaluation at this very step, reward units.")


class CheckpointList(BaseModel):
    items: list[CheckpointOut]


class CheckpointPatch(Body):
    pinned: bool = Field(description="true keeps this checkpoint whatever the run's retention says.", examples=[True])


class OutputFile(BaseModel):
    name: str
    bytes: int
    sha256: str | None = Field(
        None, description="Of the content; null where the run was trained before hashes were kept."
    )


class ArtifactFileOut(BaseModel):
    number: int = Field(description="Names the file in addresses.")
    name: str = Field(description="Relative to the artifact's folder.")
    bytes: int
    sha256: str


class ArtifactOut(BaseModel):
    """A checkpoint, an output, a log or a spool, whole and content-hashed."""

    id: str
    kind: ArtifactKind
    name: str
    step: int | None
    attempt: int = Field(description="Fencing number of the attempt that wrote it.")
    bytes: int
    sha256: str = Field(description="Of the list of its files' hashes, one line `hash  name` a file.")
    url: str = Field(description="Where it stands in the store.")
    created_at: datetime
    files: list[ArtifactFileOut]


class ArtifactList(BaseModel):
    path: str | None = Field(description="Where the trained model stands; null until there is one.")
    items: list[OutputFile] = Field(description="Files of the trained model.")
    artifacts: list[ArtifactOut] = Field(
        default_factory=list, description="Everything registered: output, checkpoints from the newest, logs, spools."
    )


class KindUse(BaseModel):
    kind: ArtifactKind
    count: int
    bytes: int


class RunUse(BaseModel):
    id: str
    name: str
    state: RunState
    bytes: int
    checkpoint_bytes: int


class CacheUse(BaseModel):
    name: str = Field(description="`references`: log-probabilities and rewards; `artifacts`: fetched from the store.")
    bytes: int
    files: int


class Volume(BaseModel):
    path: str
    total: int
    free: int


class Freeable(BaseModel):
    """What one action would free, counted now."""

    action: FreeAction
    title: str
    description: str
    count: int
    bytes: int


class StorageOut(BaseModel):
    """What is kept, where, and what could go. All sizes in bytes."""

    store: str = Field(description="Root of the store.")
    local: bool = Field(description="Whether that is the data folder itself.")
    kinds: list[KindUse]
    runs: list[RunUse] = Field(description="The twenty that take up most.")
    caches: list[CacheUse]
    volumes: list[Volume]
    removals: int = Field(description="Places that were given up and are still to be cleared.")
    freeable: list[Freeable]
    trouble: str | None = Field(None, description="Why the store could not be asked; what only it knows is left out.")


class FreeRequest(Body):
    action: FreeAction = Field(description="What to free.", examples=["cache"])
    dry_run: bool = Field(True, description="Only count what would be freed.")


class FreeAnswer(BaseModel):
    action: FreeAction
    count: int
    bytes: int
    freed: bool = Field(description="False for a dry run.")
