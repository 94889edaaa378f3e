"""The JSON of sweeps: what requests carry and what answers hold."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from backend.early_stop import EarlyStop, StoppedEarly
from backend.schemas.body import Body, Name
from backend.schemas.runs import RunSummary
from backend.states import RunState
from copg_core.config import Algorithm

MOST_MEMBERS = 1000

Grid = dict[str, list[Any] | str]
_GRID = (
    "Dotted path of a field -> its values, as a list or as text: `0.01, 0.03, 0.1`, `log 0.003..0.3 x 6`, `0..1 x 5`, "
    "`1..4`. Every combination is a run."
)
_LIST = (
    "Runs named one by one: each entry maps dotted paths to the values of one run. They come after those of the grid."
)
_BETAS: dict[str, Any] = {"beta": "log 0.01..1 x 5", "seed": [0, 1, 2]}


class _In(Body):
    model_config = ConfigDict(populate_by_name=True)  # `list` is a type in Python, so the attribute is `entries`


class SweepBase(_In):
    """One of several starting points, with values of its own: for example an algorithm with its betas."""

    config: dict[str, Any] = Field(
        default_factory=dict, description="Laid over the sweep's `config`, section by section.",
        examples=[{"algorithm": "dpo"}],
    )  # fmt: skip
    grid: Grid = Field(default_factory=dict, description="Beside the sweep's `grid`; the same field is replaced.")
    entries: list[dict[str, Any]] = Field(
        default_factory=list, alias="list", max_length=MOST_MEMBERS, description="Beside the sweep's `list`."
    )


class SweepSpec(_In):
    """What a sweep is made of. Runs that turn out equal are made once."""

    config: dict[str, Any] = Field(
        default_factory=dict,
        description="A run configuration; fields that it does not name have their defaults. `run` may be `$sft` or "
        "`$reward_model` where the sweep makes those.",
        examples=[{"algorithm": "copg", "steps": 300}],
    )
    bases: list[SweepBase] = Field(
        default_factory=list, max_length=50, description="Several starting points. Empty: `config` alone."
    )
    grid: Grid = Field(default_factory=dict, description=_GRID, examples=[_BETAS])
    entries: list[dict[str, Any]] = Field(
        default_factory=list, alias="list", max_length=MOST_MEMBERS, description=_LIST, examples=[[{"beta": 0.06}]]
    )
    sft: dict[str, Any] | None = Field(
        None, description="Configuration of an SFT run, made once: what names no `policy` starts from it."
    )
    reward_model: dict[str, Any] | None = Field(
        None, description="Configuration of a reward model, made once: what names no `reward` is scored by it."
    )
    gpus: int | None = Field(
        None, ge=0, le=64, description="GPUs of each run; 0: the processor. Empty: one where the worker has any."
    )
    max_attempts: int = Field(
        3, ge=1, le=20, description="Attempts of each run after a lost worker or a killed process."
    )
    max_seconds: float | None = Field(
        None, ge=1, le=100_000_000, description="Longest training time of each run, in seconds. Empty: no limit."
    )


class SweepCreate(SweepSpec):
    """A sweep to make, or to preview."""

    name: str | None = Field(None, min_length=1, max_length=200, description="Empty: made from what varies.")
    notes: str = Field("", max_length=20_000)
    priority: int = Field(0, ge=-100, le=100, description="Of every run; a higher one is trained first.")
    early_stop: EarlyStop | None = Field(None, description="Stop runs that fall behind. Empty: none is stopped.")


class SweepExtend(_In):
    """More values for a sweep. Only combinations that it does not have yet are made."""

    grid: Grid = Field(default_factory=dict, description=f"Further values. {_GRID}", examples=[{"seed": [3, 4]}])
    entries: list[dict[str, Any]] = Field(
        default_factory=list, alias="list", max_length=MOST_MEMBERS, description=_LIST
    )
    base: int | None = Field(None, ge=0, description="Only for this one of `bases`, counted from 0. Empty: for all.")
    bases: list[SweepBase] = Field(default_factory=list, max_length=50, description="Further starting points.")


class SweepPatch(_In):
    """What is not named stays; `early_stop: null` switches it off."""

    name: Name | None = None
    notes: str | None = Field(None, max_length=20_000)
    early_stop: EarlyStop | None = None


class SweepForm(BaseModel):
    """What the page makes its form from."""

    early_stop_schema: dict[str, Any] = Field(description="JSON Schema of `early_stop`; fields carry `unit`.")
    early_stop_defaults: dict[str, Any]


class PlannedMember(BaseModel):
    name: str
    algorithm: Algorithm
    base: int
    overrides: dict[str, Any]
    parent: str | None = Field(None, description="`sft` or `reward_model`: made once, for the others.")


class SweepEstimate(BaseModel):
    """All runs on one kind of device, one after the other on each of its slots. Null where unknown, and `unknown` says why."""

    device: str
    slots: int = Field(description="Runs that the living workers train at the same time.")
    seconds: float | None = Field(description="Device time of all runs together, in seconds.")
    duration: str | None = Field(description="The same for people.")
    wall_seconds: float | None = Field(description="Until the last run ends, if nothing else is queued.")
    wall_duration: str | None
    do_not_fit: int = Field(description="Runs whose memory does not fit on the device.")
    unknown: list[str]


class SweepPreview(BaseModel):
    """What would be made. Nothing is stored."""

    total: int = Field(description="Runs that are compared; `parents` come on top.")
    duplicates: int = Field(description="Combinations left out because an equal one was there before.")
    parents: list[PlannedMember]
    members: list[PlannedMember] = Field(description="At most the first 200.")
    estimates: list[SweepEstimate]
    obstacle: str | None = Field(
        description="Why none of the workers that are here could train its runs, in the words of the queue; null where one could."
    )


class Final(BaseModel):
    """The last evaluation of a run; of one that has not succeeded, as far as it got."""

    step: int
    n: int
    reward_mean: float | None
    reward_stderr: float | None = Field(description="Standard error over the n prompts.")
    gold_mean: float | None
    kl: float | None = Field(description="nats per completion")


class MemberOut(BaseModel):
    run: RunSummary
    parent: str | None = Field(description="`sft` or `reward_model`: made once, for the others.")
    overrides: dict[str, Any]
    final: Final | None
    stopped_early: StoppedEarly | None


class MemberList(BaseModel):
    fields: list[str] = Field(description="The fields that differ between members: the columns of `overrides`.")
    items: list[MemberOut]
    next_cursor: str | None
    total: int


class Best(BaseModel):
    """The finished run with the largest final reward among `of`. The largest of several noisy means flatters itself."""

    run: str
    name: str
    algorithm: Algorithm
    variant: str | None
    overrides: dict[str, Any]
    reward_mean: float
    reward_stderr: float | None
    n: int = Field(description="Prompts.")
    step: int
    of: int = Field(description="Finished runs that it was chosen from.")


class Remaining(BaseModel):
    seconds: float | None
    reason: str | None = Field(description="Why it is unknown, or what it rests on.")


class SweepSummary(BaseModel):
    """A sweep and where it stands. Counts are of the compared runs; cost and time include the parents it made."""

    id: str
    name: str
    notes: str
    created_at: datetime
    priority: int
    total: int
    states: dict[RunState, int] = Field(description="How many runs are in each state; states without runs are 0.")
    active: bool = Field(description="Whether a run waits, is queued or is trained.")
    deleting: bool = Field(
        description="Whether its deletion has begun, which goes on by itself: nothing else can be done with it any more."
    )
    steps_done: int
    steps_total: int | None = Field(description="Null while a run's number of steps is not known.")
    progress: float = Field(description="Share of the steps that are done, 0 to 1; runs that ended count as whole.")
    stopped_early: int
    device_seconds: float = Field(
        description="Time that workers held its runs, times their GPUs; all attempts, those at work included."
    )
    remaining: Remaining
    best: Best | None = Field(description="Null where nothing is finished or rewards cannot be compared.")
    best_by_algorithm: list[Best]
    fields: list[str] = Field(description="The fields that differ between members.")
    algorithms: list[Algorithm]


class SweepOut(SweepSummary):
    spec: SweepSpec
    early_stop: EarlyStop | None
    parents: list[RunSummary] = Field(description="The runs that it made once for all members.")
    note: str | None = Field(None, description="What one should know before comparing its members.")


class SweepMade(SweepOut):
    """A sweep that was just made."""

    duplicates: int = Field(description="Combinations left out because an equal one was there before.")


class SweepList(BaseModel):
    items: list[SweepSummary]
    next_cursor: str | None


class Skipped(BaseModel):
    id: str
    name: str
    reason: str


class SweepChange(BaseModel):
    """What was done to a sweep's runs."""

    changed: int
    skipped: list[Skipped] = Field(
        description="Runs that were left as they are although they might be meant, with why."
    )
    sweep: SweepOut
