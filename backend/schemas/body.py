"""What every request body has in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _visible(name: str) -> str:
    if not name.strip():
        raise ValueError("a name needs at least one character that can be seen")
    return name.strip()


Name = Annotated[str, Field(max_length=200), AfterValidator(_visible)]
Notes = Annotated[str, Field(max_length=20_000, description="Free text.")]


class Body(BaseModel):
    """A request body: a field that it does not know is an error, because it is most likely a slip of the pen."""

    model_config = ConfigDict(extra="forbid")
