"""The JSON of webhooks and their deliveries."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from backend.schemas.body import Body


class WebhookEvent(StrEnum):
    """What a webhook may be told of: a run came to a state, or the last run of a sweep has ended."""

    RUN_WAITING = "run.waiting"
    RUN_QUEUED = "run.queued"
    RUN_STARTED = "run.started"
    RUN_CANCELLING = "run.cancelling"
    RUN_SUCCEEDED = "run.succeeded"
    RUN_FAILED = "run.failed"
    RUN_CANCELLED = "run.cancelled"
    SWEEP_FINISHED = "sweep.finished"


ENDS = [WebhookEvent.RUN_SUCCEEDED, WebhookEvent.RUN_FAILED, WebhookEvent.RUN_CANCELLED, WebhookEvent.SWEEP_FINISHED]


def _distinct(events: list[WebhookEvent]) -> list[WebhookEvent]:
    return list(dict.fromkeys(events))


Url = Annotated[
    str,
    Field(
        min_length=8, max_length=2000, examples=["https://ci.example.org/hooks/copg"],
        description="http or https, without user and fragment. Redirects are not followed.",
    ),
]  # fmt: skip
Events = Annotated[
    list[WebhookEvent],
    Field(min_length=1, max_length=20, description="What it is told of.", examples=[["run.failed", "sweep.finished"]]),
    AfterValidator(_distinct),
]
Description = Annotated[str, Field(max_length=1000, description="What it is for.", examples=["the team's chat"])]


class WebhookCreate(Body):
    """An address that is to be told of events."""

    url: Url
    events: Events = Field(default_factory=lambda: list(ENDS))
    description: Description = ""


class WebhookPatch(Body):
    """What is not named stays. `enabled: true` also ends a disabling by failed deliveries."""

    url: Url | None = None
    events: Events | None = None
    description: Description | None = None
    enabled: bool | None = Field(
        None, description="Disabled, it is told nothing; what happens meanwhile is not told later."
    )


class SecretReplace(Body):
    """How long receivers have to learn a new secret."""

    overlap_hours: float = Field(
        24, ge=0, le=168, title="Overlap", json_schema_extra={"unit": "hours"},
        description="For which messages are signed with the old secret too. 0: at once with the new one alone, where the old one has leaked.",
    )  # fmt: skip


class WebhookOut(BaseModel):
    """A webhook without its secret."""

    id: str
    url: str
    events: list[WebhookEvent]
    description: str
    enabled: bool
    disabled_reason: str | None = Field(description="Why nothing is sent any more. Null: enabled.")
    created_at: datetime
    accepted_at: datetime | None = Field(description="When it last accepted a message. Null: never.")
    waiting: int = Field(description="Deliveries that are still to be made.")
    old_secret_until: datetime | None = Field(
        description="Until when messages are signed with the secret before this one, too. Null: they are not."
    )


class WebhookCreated(WebhookOut):
    secret: str = Field(description="Verifies the signatures. It is shown now and never again.")


class WebhookList(BaseModel):
    items: list[WebhookOut]
    next_cursor: str | None = Field(description="Null on the last page.")


class DeliveryOut(BaseModel):
    """A message and how its delivery stands."""

    id: str = Field(description="With `msg_` before it, the header `webhook-id`: the same at every attempt.")
    webhook: str
    type: str = Field(examples=["run.failed", "webhook.test"])
    status: Literal["pending", "delivered", "failed"] = Field(description="`failed`: it is not tried any more.")
    attempts: int
    created_at: datetime
    attempted_at: datetime | None
    next_at: datetime | None = Field(description="When it is tried next, at the earliest. Null: it has ended.")
    answer_status: int | None = Field(description="HTTP status of the last answer. Null: there was none.")
    answer: str | None = Field(description="The first 1000 bytes of the last answer, or why there was none.")
    payload: str = Field(description="The body that is sent, byte for byte.")


class DeliveryList(BaseModel):
    items: list[DeliveryOut]
    next_cursor: str | None = Field(description="Null on the last page.")
