"""What a run can be made of: algorithms, models, data sets."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from copg_core.config import Algorithm


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
    next_cursor: str | None
