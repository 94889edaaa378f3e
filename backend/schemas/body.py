"""What every request body has in common."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

NUL = "nul_character"
"""Type of the error of a body with a character that PostgreSQL stores in no text; `path` in its context leads to it."""
_NUL_MESSAGE = "this text holds a NUL character (\\u0000), which cannot be stored: leave it out"


def _visible(name: str) -> str:
    if not name.strip():
        raise ValueError("a name needs at least one character that can be seen")
    return name.strip()


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError(_NUL_MESSAGE)
    return text


Name = Annotated[str, Field(max_length=200), AfterValidator(_visible)]
Notes = Annotated[str, Field(max_length=20_000, description="Free text.")]
Storable = AfterValidator(_without_nul)
"""For texts that come with the address; those of bodies are all looked at."""


class Body(BaseModel):
    """A request body: a field that it does not know is an error, because it is most likely a slip of the pen."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, data: Any) -> Any:
        # SQLite would take it. Here, and not in each field, because a configuration and a grid hold texts at any depth.
        if (path := _path_to_nul(data)) is not None:
            raise PydanticCustomError(NUL, "{message}", {"message": _NUL_MESSAGE, "path": path})
        return data


def _path_to_nul(data: Any) -> tuple[str, ...] | None:
    """The way to a text with that character, or to the section where a field's name has it; None where nothing does."""
    places: list[tuple[tuple[str, ...], Any]] = [((), data)]
    while places:  # not by calling itself: how deep a body is nested is up to whoever sends it
        path, value = places.pop()
        if isinstance(value, str) and "\0" in value:
            return path
        if isinstance(value, dict):
            if any(isinstance(key, str) and "\0" in key for key in value):
                return path
            places += [((*path, str(key)), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            places += [((*path, str(number)), inner) for number, inner in enumerate(value)]
    return None
