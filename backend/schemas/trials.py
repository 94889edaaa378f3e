"""Trials: a prompt that somebody typed, answered by policies of finished runs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from backend.schemas.body import Body
from backend.states import RunState
from copg_core.recipe import Generation
from copg_core.sources import unit
from copg_core.trial_config import LONGEST_PROMPT, MOST_COMPLETIONS, MOST_POLICIES

_LONGEST = Generation.model_fields["max_new_tokens"]
_TEMPERATURE = Generation.model_fields["temperature"]


class TrialCreate(Body):
    """What is not said is taken from the first run."""

    runs: Annotated[list[str], Field(min_length=1, max_length=MOST_POLICIES)] = Field(
        title="Runs", description="Finished runs that trained a policy, by id, in the order in which they are shown."
    )
    prompt: str = Field(
        min_length=1, max_length=LONGEST_PROMPT, title="Prompt", description="Given to every policy as it stands here."
    )
    completions: int = Field(
        4, ge=1, le=MOST_COMPLETIONS, title="Completions", description="Of each run.",
        json_schema_extra=unit("completions"),
    )  # fmt: skip
    max_new_tokens: int | None = Field(
        None, ge=1, le=8192, title=_LONGEST.title, description="Empty: that of the first run's evaluations.",
        json_schema_extra=unit("tokens"),
    )  # fmt: skip
    temperature: float | None = Field(
        None, ge=0, le=5, title=_TEMPERATURE.title,
        description="1 samples from the policy itself; 0 is greedy. Empty: that of the first run's evaluations.",
        json_schema_extra=unit("1"),
    )  # fmt: skip
    seed: int = Field(
        0, ge=0, lt=2**31, title="Seed",
        description="The same one draws the same random numbers for every run; another one, other words.",
    )  # fmt: skip
    chat: bool = Field(
        False,
        title="As a chat",
        description="As a user's turn, for runs whose tokenizer has a chat template; else as text.",
    )
    reward_of: str | None = Field(
        None, title="Scored by", description="The run, by id, whose reward scores all. Empty: the first that has one."
    )


class TrialForm(BaseModel):
    """What the page makes its form from."""

    request_schema: dict[str, Any] = Field(description="JSON Schema of a request for a trial; fields carry `unit`.")


class TrialCompletion(BaseModel):
    text: str
    reward: float | None
    gold: float | None
    kl: float | None = Field(
        description="Log-ratio of this completion to the run's reference, nats, summed over tokens."
    )
    length: int = Field(description="Tokens, the end token included.")
    finished: bool = Field(description="False where it was cut off before its end.")


class TrialAnswer(BaseModel):
    """What one policy wrote. All of it is null or empty until it has written."""

    run: str
    name: str | None = Field(description="null: the run was deleted since.")
    algorithm: str | None
    prompt_tokens: int | None
    prompt_tokens_dropped: int | None = Field(
        description="Cut off the prompt's beginning, beyond the longest prompt that the run was trained with."
    )
    unknown_tokens: int | None = Field(description="Of the prompt, those that the run's tokenizer does not know.")
    chat_template: bool | None = Field(description="Whether the run's tokenizer has one.")
    warning: str | None = Field(description="What may make the answer poor.")
    error: str | None = Field(description="Why this policy wrote nothing.")
    unscored: str | None = Field(description="Why what it wrote has no reward.")
    reward_mean: float | None
    reward_stderr: float | None = Field(description="null for greedy completions, which are all one.")
    gold_mean: float | None
    gold_stderr: float | None
    unmeasured: str | None = Field(description="Why what it wrote has no KL.")
    kl: float | None = Field(description="Mean of the completions' log-ratios, nats: an estimate of KL unless greedy.")
    kl_stderr: float | None = Field(description="null for greedy completions, which are all one.")
    completions: list[TrialCompletion]


class TrialSummary(BaseModel):
    id: str
    state: RunState
    prompt: str = Field(description="Its first 200 characters.")
    runs: int
    created_at: datetime


class TrialList(BaseModel):
    items: list[TrialSummary]
    next_cursor: str | None


class TrialOut(BaseModel):
    """A trial and what was written so far."""

    id: str
    state: RunState
    stage: str | None
    error: str | None
    prompt: str
    chat: bool
    completions: int
    max_new_tokens: int
    temperature: float
    seed: int
    reward: str | None = Field(description="What scores the completions, in words; null: nothing does.")
    scored_by: str | None = Field(description="Id of the run whose reward it is.")
    reward_of: str | None = Field(description="The run whose reward was asked for; null: the first that had one.")
    unscored: str | None = Field(description="Why nothing scores them.")
    has_gold: bool = Field(description="Whether there is a gold reward beside the one that scores.")
    answers: list[TrialAnswer] = Field(description="One for each run, in the order in which they were asked.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
