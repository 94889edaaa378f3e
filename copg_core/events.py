"""What a run reports while it trains, and the protocol of whoever listens.

Events are frozen pydantic models: one line of JSON each in a spool file, one branch each in the database writer.
This module is torch-free so that the web process can read what the training process wrote.
"""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Stage(_Event):
    """The run entered a stage of its work, or got further in it.

    `done` of `total` counts what the stage counts (pairs scored, prompts generated); both are 0 where it cannot count.
    """

    event: Literal["stage"] = "stage"
    name: Literal["loading", "encoding", "reference", "rewards", "training", "evaluating", "saving"]
    done: int = 0
    total: int = 0


class Started(_Event):
    """Everything is loaded and training begins (or goes on) after `step` of `total_steps`."""

    event: Literal["started"] = "started"
    step: int
    total_steps: int


class Metrics(_Event):
    """Scalars of one optimizer step, by the names of docs/metrics.md. A NaN or an infinity travels as None."""

    event: Literal["metrics"] = "metrics"
    step: int
    values: dict[str, float | None]


class Sample(_Event):
    """One completion that the policy wrote for one prompt of the fixed evaluation set."""

    event: Literal["sample"] = "sample"
    prompt_index: int
    prompt: str
    completion: str
    reward: float | None = Field(None, description="reward units; None where the run has no scorer")
    gold: float | None = Field(None, description="gold reward units; None where the data has no gold function")
    kl: float | None = Field(
        None, description="log-ratio of this completion to the reference, nats, summed over tokens"
    )
    length: int = Field(description="tokens, EOS included")
    finished: bool = Field(description="False where the completion was cut off before EOS")


class Evaluation(_Event):
    """One pass over the fixed evaluation set, with what is needed for standard errors and paired tests.

    `values` holds what only some algorithms measure: `validation_loss`, `accuracy`, `accuracy_stderr`, `ties`,
    `longer_wins`, `gold_stderr`, `kl_stderr`, `kl_k2`, `kl_k3`.
    """

    event: Literal["evaluation"] = "evaluation"
    step: int
    n: int = Field(description="prompts, or pairs for a reward model")
    reward_mean: float | None = None
    reward_stderr: float | None = None
    kl: float | None = Field(
        None, description="k1: mean over prompts of ln pi - ln pi_ref of the sampled completion, nats"
    )
    length_mean: float | None = None
    unfinished_share: float | None = None
    gold_mean: float | None = None
    values: dict[str, float | None] = Field(default_factory=dict)
    samples: tuple[Sample, ...] = ()


class CheckpointSaved(_Event):
    """A whole checkpoint stands on disk; training can go on from `step`."""

    event: Literal["checkpoint"] = "checkpoint"
    step: int
    path: str
    bytes: int
    good_step: int | None = Field(
        None, description="newest checkpoint that an evaluation has called good: not to be removed, whatever is kept"
    )


class CheckpointRemoved(_Event):
    """An older checkpoint was deleted because the run keeps only the last few."""

    event: Literal["checkpoint_removed"] = "checkpoint_removed"
    step: int
    path: str


class Report(_Event):
    """Facts about the run that are not curves: truncation counts, ties dropped, the step-0 self-check, versions."""

    event: Literal["report"] = "report"
    section: str
    values: dict[str, str | int | float | bool | None]


class Finished(_Event):
    """Training is complete; the trained model and its manifest stand in `output`."""

    event: Literal["finished"] = "finished"
    step: int
    output: str


class Failed(_Event):
    """The run cannot go on; `kind` is the error's word from errors.py, `message` its sentence."""

    event: Literal["failed"] = "failed"
    kind: str
    message: str


Event = Stage | Started | Metrics | Evaluation | CheckpointSaved | CheckpointRemoved | Report | Finished | Failed
EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


class Recorder(Protocol):
    """Whoever wants to know: a progress bar, a spool file, a list in a test."""

    def record(self, event: Event) -> None: ...
