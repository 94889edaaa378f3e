"""A comparison of runs: its groups, what sets them apart, and their differences to a baseline."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from backend.comparisons import Measure
from backend.figures.compare import FigureName
from backend.states import RunState


class ComparedRun(BaseModel):
    id: str
    name: str
    state: RunState
    seed: int | None


class DifferenceOut(BaseModel):
    """Group minus baseline over the same prompts; numbers are null where too few prompts say anything."""

    step: int = Field(description="At which the group was scored, and the baseline too where that is a group.")
    n: int = Field(description="Prompts that both have a score for, from all of their measured seeds.")
    mean: float | None
    low: float | None = Field(description="Lower end of the 95 % interval.")
    high: float | None
    p: float | None = Field(description="Studentized paired bootstrap, corrected by Holm's method.")
    p_sign: float | None = Field(description="Exact sign test, corrected by Holm's method.")
    wins: int = Field(description="Prompts on which the group is above the baseline.")
    losses: int
    ties: int


class ComparedGroup(BaseModel):
    """Runs that differ by nothing but their seed, at their last common evaluation."""

    id: str
    label: str
    algorithm: str
    beta: float | None
    runs: list[ComparedRun]
    settings: dict[str, Any] = Field(description="Value of each of `fields` that it has.")
    seeds: int = Field(
        description="Of its runs those that are in the mean: evaluated, and not given up before the others came as far."
    )
    step: int | None = Field(description="The last that all of these have been evaluated at.")
    mean: float | None = Field(description="Of the chosen measure.")
    stderr: float | None
    error_over: str | None = Field(
        description="What the standard error is over: `3 seeds`, `2 of 3 seeds`, or `64 prompts`."
    )
    n: int | None = Field(description="Prompts of an evaluation.")
    kl: float | None
    is_best: bool = Field(description="Largest mean of several groups of its algorithm that have finished.")
    difference: DifferenceOut | None = Field(
        description="Null for the baseline itself, before an evaluation, and where `untested` says why."
    )
    untested: str | None = Field(description="Why there is no difference to the baseline, in a few words.")


class FieldOut(BaseModel):
    path: str
    label: str


class ComparedFigure(BaseModel):
    name: FigureName
    title: str
    algorithm: str | None = Field(
        description="Whose groups alone it shows: asked for by `algorithm`. Null: all of them."
    )


class BaselineOut(BaseModel):
    id: str
    label: str


class AboutOut(BaseModel):
    """What stands beside that which changes how figures are drawn, in sentences. A figure's own caption says the same of how it is drawn."""

    bands: str = Field(description="What `band` chooses between.")
    smoothing: str = Field(description="What `smoothing` draws.")


class LeftOut(BaseModel):
    left_out: str | None = Field(
        description="Which of the chosen runs are not compared and why, in a sentence; null where all of them are."
    )


class CompareOut(LeftOut):
    summary: str = Field(description="How many runs are compared, in how many groups, and what a group is.")
    measure: Measure
    has_gold: bool
    kl_title: str = Field(description="What `kl` is called: of greedy completions a log-ratio is no estimate of KL.")
    groups: list[ComparedGroup]
    fields: list[FieldOut] = Field(description="Settings in which groups differ, or that only some of them have.")
    baselines: list[BaselineOut] = Field(
        description="What may be the baseline: groups, and `reference`, the policy of step 0."
    )
    baseline: str
    method: str = Field(description="How differences are tested, in a sentence.")
    notes: list[str] = Field(description="What to know before reading the numbers.")
    figures: list[ComparedFigure]
    about: AboutOut
    active: bool = Field(description="Whether any of the runs still changes.")
    target: float | None = Field(description="The reward that the figure of times asks for where nobody says one.")
