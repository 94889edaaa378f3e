"""The one shape of every error."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class FieldError(BaseModel):
    """One wrong field of a request."""

    field: str = Field(description="Dotted path below the request body, for example `config.beta`.")
    message: str = Field(description="A sentence for the person who filled it in.")


class Problem(BaseModel):
    """RFC 9457 problem details: the one shape of every error."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:copg:problem:invalid",
                "title": "Unprocessable Entity",
                "status": 422,
                "detail": "config.beta: Input should be greater than 0",
                "instance": "/api/v1/runs",
                "errors": [{"field": "config.beta", "message": "Input should be greater than 0"}],
            }
        }
    )
    type: str = Field(
        "about:blank", description="Stable name of the kind of problem, for programs: `urn:copg:problem:…`."
    )
    title: str = Field(description="The HTTP status in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong and what to do about it, for people.")
    instance: str | None = Field(None, description="The address that was asked.")
    errors: list[FieldError] = Field(
        default_factory=list, description="The fields that are wrong, where it is about fields."
    )
