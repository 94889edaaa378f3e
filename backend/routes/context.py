"""What a route needs beside its request: the database, the settings, the feed and the way to wake workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any

from fastapi import Depends, Header, Query, Request

from backend.comparisons import Comparison
from backend.database import Database
from backend.feed import Feed
from backend.repeats import Repeats
from backend.settings import Settings
from backend.shared_answers import Flights, SharedAnswers


@dataclass(frozen=True)
class Studio:
    """The one object that an application carries; everything in it is thread-safe."""

    settings: Settings
    database: Database
    feed: Feed
    wake: Callable[[], None]
    """Says, after a commit, that runs may be due. Never waits: the reconcile loop sends the hints."""
    wake_data: Callable[[], None] = lambda: None
    """Says, after a commit, that a data set is to be analysed, or brought to the store. Never waits."""
    answers: SharedAnswers[bytes] = field(default_factory=SharedAnswers)
    flights: Flights[bytes] = field(default_factory=Flights)
    comparisons: SharedAnswers[Comparison] = field(default_factory=lambda: SharedAnswers(size=4))
    compared: SharedAnswers[bytes] = field(default_factory=lambda: SharedAnswers(size=32))
    """Comparisons, and their tables and figures. Of fifty long runs they take tens of megabytes and a quarter of one: few are kept."""
    gpus: SharedAnswers[bytes] = field(default_factory=lambda: SharedAnswers(size=16))
    """Figures of GPUs, the same for whoever looks at them before the next heartbeat."""

    @cached_property
    def repeats(self) -> Repeats:
        """Which addresses ask for which of `answers`."""
        return Repeats(self.feed, self.answers, self.flights)


# Async not because it waits for anything: FastAPI asks a thread for what is not.
async def _studio(request: Request) -> Any:
    return request.app.state.studio


Context = Annotated[Studio, Depends(_studio)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="Sent again with the same body, the first answer's object is returned; with another body: 409.",
    ),
]
DryRun = Annotated[bool, Query(description="Only say, by the status, whether it would be done; nothing is changed.")]
