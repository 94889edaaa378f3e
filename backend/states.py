"""The states of a run and the table of allowed moves. Pure Python: no database, no queue.

WAITING (on parent runs) -> QUEUED -> RUNNING -> SUCCEEDED | FAILED | CANCELLED
RUNNING -> CANCELLING -> CANCELLED            a person asked, the child is stopping
RUNNING -> QUEUED                             lease lost, worker drained or child killed, attempts left
FAILED | CANCELLED -> QUEUED | WAITING        resumed from the last checkpoint, or tried again
WAITING | QUEUED -> CANCELLED                 nothing ran yet, or a parent did not succeed
"""

from __future__ import annotations

from enum import StrEnum


class RunState(StrEnum):
    """Lower-case words, as they stand in JSON and SQL."""

    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


ALLOWED: dict[RunState, frozenset[RunState]] = {
    RunState.WAITING: frozenset({RunState.QUEUED, RunState.CANCELLED}),
    RunState.QUEUED: frozenset({RunState.RUNNING, RunState.CANCELLED}),
    RunState.RUNNING: frozenset(
        {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.CANCELLING, RunState.QUEUED}
    ),
    # A run that reaches its end while it is being cancelled keeps what it reached.
    RunState.CANCELLING: frozenset({RunState.CANCELLED, RunState.SUCCEEDED, RunState.FAILED}),
    RunState.SUCCEEDED: frozenset(),
    RunState.FAILED: frozenset({RunState.QUEUED, RunState.WAITING}),
    RunState.CANCELLED: frozenset({RunState.QUEUED, RunState.WAITING}),
}

TERMINAL = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED})
RESUMABLE = frozenset({RunState.FAILED, RunState.CANCELLED})
"""Ended without success: such a run may be taken up again."""
OWNED = frozenset({RunState.RUNNING, RunState.CANCELLING})
"""States in which a worker holds a lease on the run."""


def may_move(origin: RunState, target: RunState) -> bool:
    """Whether a run may go from `origin` to `target`."""
    return target in ALLOWED[origin]
