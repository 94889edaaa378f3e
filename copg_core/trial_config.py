"""What a trial is: a prompt that somebody typed, answered by policies of finished runs side by side. Torch-free.

A trial stands in the same line as runs, for it needs the same devices: `Job` is whatever a worker may be given.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from copg_core.config import RunConfig
from copg_core.config import parents as parents_of_run
from copg_core.places import RunOrFolder
from copg_core.recipe import Checkpoints, Generation
from copg_core.reward_sources import RunReward, ScoringReward, parts
from copg_core.sources import Frozen, Int32, ModelSource, RunModel, TaskData, unit

MOST_POLICIES = 8
MOST_COMPLETIONS = 16
LONGEST_PROMPT = 50_000


class TrialReference(Frozen):
    """The model that a run started from, as the run loaded it."""

    model_config = ConfigDict(title="Reference of a policy")
    policy: ModelSource = Field(title="Model", description="As the run's configuration names it.")
    task: TaskData | None = Field(
        None, title="Task", description="Whose words a new model without a tokenizer of its own knows; none: bytes."
    )
    seed: int = Field(0, ge=0, lt=2**31, title="Seed", description="Of a new model's weights.")


class TrialPolicy(Frozen):
    """A finished run, the longest prompt that it was trained with, and what its KL is measured to."""

    model_config = ConfigDict(title="Policy of a trial")
    run: RunOrFolder = Field(min_length=1, title="Run", description="Id of a finished run, or the folder it wrote.")
    max_prompt_tokens: Int32 = Field(
        512, ge=1, title="Longest prompt", description="A longer prompt loses its beginning, as in training.",
        json_schema_extra=unit("tokens"),
    )  # fmt: skip
    reference: TrialReference | None = Field(
        None, title="Reference", description="What its completions' KL is measured to; none: it is not measured."
    )


class TrialConfig(Frozen):
    """One prompt, n completions of each policy. Completion i of every policy is drawn with the same random numbers, so that
    policies that are alike write alike: what differs is less often chance."""

    model_config = ConfigDict(title="Trial")
    checkpoints: ClassVar[Checkpoints] = Checkpoints()
    """A trial writes none."""

    algorithm: Literal["trial"] = "trial"
    prompt: str = Field(
        min_length=1, max_length=LONGEST_PROMPT, title="Prompt", description="Given to every policy as it stands here."
    )
    chat: bool = Field(
        False,
        title="As a chat",
        description="The prompt is a user's turn where a policy's tokenizer has a chat template.",
    )
    policies: list[TrialPolicy] = Field(
        min_length=1, max_length=MOST_POLICIES, title="Policies", description="The finished runs that answer."
    )
    completions: int = Field(
        4, ge=1, le=MOST_COMPLETIONS, title="Completions", description="Of each policy.",
        json_schema_extra=unit("completions"),
    )  # fmt: skip
    generation: Generation = Field(
        default_factory=Generation, title="Generation", description="How completions are sampled."
    )
    seed: int = Field(0, ge=0, lt=2**31, title="Seed", description="Of the random numbers; another one, other words.")
    reward: ScoringReward | None = Field(
        None, title="Reward", description="Scores every completion, whoever wrote it; none: they are not scored."
    )
    task: TaskData | None = Field(
        None,
        title="Task",
        description="The built-in task whose gold reward is told beside the reward; none: there is none.",
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", title="Precision", description="Of the weights that are computed with."
    )


TRIAL_SCHEMA = 3
"""Of the same count as config.CONFIG_SCHEMA. Workers tell the larger of the two, up to which they read everything."""
Job = RunConfig | TrialConfig
JOB_CONFIG: TypeAdapter[Job] = TypeAdapter(Annotated[Job, Field(discriminator="algorithm")])


def parents(job: Job) -> dict[str, str]:
    """The runs whose output a job reads, by role. Those of a trial are `trial.0`, `trial.1`, ...: it is no child of theirs,
    and keeps nobody from deleting them."""
    if not isinstance(job, TrialConfig):
        return parents_of_run(job)
    runs = dict.fromkeys([*_policies(job), *_measured_to(job), *_scored_by(job)])
    return {f"trial.{place}": run for place, run in enumerate(runs)}


def only_measured_to(job: TrialConfig) -> set[str]:
    """Runs without which there is no KL, and everything else."""
    return {*_measured_to(job)} - {*_policies(job), *_scored_by(job)}


def _policies(job: TrialConfig) -> list[str]:
    return [policy.run for policy in job.policies]


def _measured_to(job: TrialConfig) -> list[str]:
    references = [policy.reference.policy for policy in job.policies if policy.reference]
    return [source.run for source in references if isinstance(source, RunModel)]


def _scored_by(job: TrialConfig) -> list[str]:
    return [part.run for _, part in parts(job.reward) if isinstance(part, RunReward)]
