"""One action on many runs."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, model_validator

from backend.schemas.body import Body
from backend.schemas.runs import Priority, RunSummary, Tags

BulkAction = Literal["cancel", "resume", "retry", "delete", "tag", "untag", "priority"]
MOST = 1000  # runs of one request


class BulkRequest(Body):
    """Which runs, by their ids or by the conditions of the list, and what to do with each."""

    action: BulkAction = Field(description="`tag` and `untag` take `tags`, `priority` takes `priority`.")
    ids: list[str] | None = Field(None, min_length=1, max_length=MOST, description="Public ids of runs.")
    where: list[str] | None = Field(
        None,
        min_length=1,
        max_length=20,
        description=f"The same conditions as in GET /runs; at most {MOST} runs are taken, `remaining` says how many more fit.",
        examples=[["state=failed", "tags=paper"]],
    )
    tags: Tags = Field(default_factory=list)
    priority: Priority | None = None
    dry_run: bool = Field(False, description="Only say what would be done and what refused; nothing is changed.")

    @model_validator(mode="after")
    def _whole(self) -> BulkRequest:
        if (self.ids is None) == (self.where is None):
            raise ValueError("say which runs, by `ids` or by `where`, not by both")
        if (self.action in ("tag", "untag")) != bool(self.tags):
            raise ValueError("`tags` go with the actions tag and untag, which need at least one")
        if (self.action == "priority") != (self.priority is not None):
            raise ValueError("`priority` goes with the action priority, which needs it")
        return self


class BulkItem(BaseModel):
    """What became of one run."""

    id: str
    name: str = Field(description="Empty where no run has this id.")
    outcome: Literal["done", "refused"]
    reason: str = Field(description="Why it was refused; empty where it was done.")
    run: RunSummary | None = Field(description="The run as it is now; null where it was deleted or refused.")


class BulkOut(BaseModel):
    action: BulkAction
    dry_run: bool
    done: int
    refused: int
    remaining: int = Field(description="Runs that fulfil the conditions beyond those taken: ask again.")
    items: list[BulkItem]
