"""What can be wrong with a request about a run. Each message is a sentence for the person who asked.

RunError
 ├── RunNotFound           no run has this id
 ├── StateConflict         the run's state does not allow what was asked
 ├── ParentError           a run that it builds on is unknown, of the wrong kind, or did not succeed
 │    ├── DataMissing      an uploaded data set that it reads is unknown, deleted or unreadable
 │    └── RewardRefused    its reward function does not take its options
 ├── AwaitedError          a run that it is to wait for is unknown or will not succeed
 ├── IdempotencyConflict   the same Idempotency-Key came with another request
 ├── IdempotencyGone       what an Idempotency-Key made was deleted or replaced since
 └── LeaseLost             the worker that writes no longer owns the run (never reaches a person)
"""

from __future__ import annotations


class RunError(Exception):
    """Base of everything that backend/runs.py and backend/claims.py refuse."""


class RunNotFound(RunError):  # noqa: N818 - reads as what happened
    """No run has this id."""

    def __init__(self, uid: str) -> None:
        self.uid = uid
        super().__init__(f"no run has the id {uid!r}")


class StateConflict(RunError):  # noqa: N818 - reads as what happened
    """The run's state does not allow what was asked."""


class ParentError(RunError):
    """A run that this one builds on cannot be used. `field` is the place in the configuration that names it."""

    def __init__(self, role: str, message: str) -> None:
        self.role, self.field = role, field_of(role)
        super().__init__(message)


class AwaitedError(RunError):
    """A run that this one is to wait for cannot be waited for. `field`: `after` or `after_any` of the request."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


def field_of(role: str) -> str:
    """The place in a configuration that names the run of a role; a role of a weighted sum has a number.

    >>> field_of("policy"), field_of("reward.1")
    ('policy.run', 'reward.rewards.1.reward.run')
    """
    source, _, index = role.partition(".")
    return f"{source}.rewards.{index}.reward.run" if index else f"{source}.run"


class DataMissing(ParentError):  # noqa: N818 - reads as what happened
    """An uploaded data set that a run reads cannot be used; found in the form the way a parent is."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__("data", message)
        self.field = f"data.{field}"


class RewardRefused(ParentError):  # noqa: N818 - reads as what happened
    """A reward function does not take the options that it is given; found in the form the way a parent is."""

    def __init__(self, role: str, message: str) -> None:
        super().__init__(role, message)
        self.field = field_of(role).removesuffix("run") + "options"


class IdempotencyConflict(RunError):  # noqa: N818 - reads as what happened
    """An Idempotency-Key was used again with another request."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the idempotency key {key!r} was already used for another request; choose a new one")


class IdempotencyGone(RunError):  # noqa: N818 - reads as what happened
    """What a request with this Idempotency-Key made was deleted or replaced since."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"what the idempotency key {key!r} made has been deleted or replaced since; choose a new key to make another"
        )


class LeaseLost(RunError):  # noqa: N818 - reads as what happened
    """The fencing number is no longer the run's: another attempt owns it, or it has ended. Stop, write nothing."""

    def __init__(self, run_id: int, fence: int) -> None:
        super().__init__(f"attempt {fence} of run {run_id} no longer owns it")
