"""What a completion is scored by: a union of frozen pydantic models, told apart by `kind`. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue

from copg_core.places import ModelFolderOrHub, RunOrFolder
from copg_core.sources import DataSource, Frozen, Int32, TaskData, unit


class RunReward(Frozen):
    """The reward model that an earlier run trained."""

    model_config = ConfigDict(title="Reward model of a run")
    kind: Literal["run"] = "run"
    run: RunOrFolder = Field(
        min_length=1, title="Run", description="Id of a finished reward-model run, or the folder it wrote."
    )


class GoldReward(Frozen):
    """The built-in task's own reward function."""

    model_config = ConfigDict(title="Gold reward of the task")
    kind: Literal["gold"] = "gold"


class DataReward(Frozen):
    """What the data says: its `reward_1` and `reward_2`, or 1/2 for the chosen and 0 for the rejected completion.

    A contrast of 1/2 makes CoPG's gradient that of IPO up to a constant (Property 3). Fresh completions cannot be
    scored, so evaluations carry KL and length but no reward.
    """

    model_config = ConfigDict(title="Rewards in the data")
    kind: Literal["data"] = "data"


class FunctionReward(Frozen):
    """A function of prompt, completion and the row's columns: ours, or one that an installed package registers."""

    model_config = ConfigDict(title="Function")
    kind: Literal["function"] = "function"
    name: str = Field(
        pattern=r"^[\w.-]+$",
        title="Function",
        description="`rouge_l` (overlap with a reference text), `gsm8k` (exact final number), `format` (a regular "
        "expression), `length` (distance to a number of words), or a name that a package registers under the entry point "
        "group `copg.rewards`.",
    )
    reference: str = Field(
        "",
        title="Reference column",
        description="Column with the text or answer that a completion is compared with, for example `summary` or `answer`. "
        "Empty for functions that need none.",
    )
    options: dict[str, JsonValue] = Field(
        default_factory=dict,
        title="Options",
        description='Given to the function by name, for example `{"pattern": "<answer>.*</answer>"}` for `format`.',
    )


class UnitTestReward(Frozen):
    """Runs the code of a completion against the row's tests, in a sandbox without network (bubblewrap, Linux only)."""

    model_config = ConfigDict(title="Unit tests")
    kind: Literal["unit_tests"] = "unit_tests"
    tests: str = Field(
        "test_list",
        min_length=1,
        title="Tests column",
        description="Column with the tests: a list of Python statements, each one test, or one text that is one test.",
    )
    setup: str = Field(
        "",
        title="Set-up column",
        description="Column with code to run before the tests, for example `test_setup_code` or `test_imports`. Empty: none.",
    )
    entry_point: str = Field(
        "",
        title="Entry point column",
        description="Column with the name of the function that `check(candidate)` in the tests is called with, as in "
        "HumanEval. Empty: the tests call it themselves.",
    )
    prompt_is_code: bool = Field(
        False,
        title="Prompt is code",
        description="Run prompt and completion as one program, where the completion goes on from the prompt (HumanEval).",
    )
    score: Literal["share", "all"] = Field(
        "share", title="Score", description="share: of tests passed; all: 1 where every test passes, otherwise 0."
    )
    seconds: float = Field(
        10.0, gt=0, le=600, title="Time limit", description="For one program, all its tests together.",
        json_schema_extra=unit("seconds"),
    )  # fmt: skip
    memory: int = Field(
        512, ge=64, le=65_536, title="Memory limit", description="Address space of one program.",
        json_schema_extra=unit("MiB"),
    )  # fmt: skip
    workers: int = Field(
        2, ge=1, le=64, title="Programs at once", description="How many sandboxes run side by side.",
        json_schema_extra=unit("programs"),
    )  # fmt: skip


class EntailmentReward(Frozen):
    """How surely a text follows from another: any natural-language-inference model of transformers."""

    model_config = ConfigDict(title="Entailment")
    kind: Literal["entailment"] = "entailment"
    model: ModelFolderOrHub = Field(
        min_length=1,
        title="Model",
        description="Hub id or local folder of a sequence classifier whose labels include `entailment`.",
    )
    premise: str = Field(
        "", title="Premise column", description="Column from which the completion should follow. Empty: the prompt."
    )
    score: Literal["probability", "logit"] = Field(
        "probability", title="Score", description="P(entailment) over all labels, or the logit itself."
    )
    max_tokens: Int32 = Field(
        512, ge=8, title="Longest pair", description="A longer premise loses its end.", json_schema_extra=unit("tokens")
    )


SingleReward = Annotated[
    RunReward | GoldReward | FunctionReward | UnitTestReward | EntailmentReward, Field(discriminator="kind")
]


class WeightedReward(Frozen):
    """One term of a weighted sum."""

    model_config = ConfigDict(title="Term")
    weight: float = Field(
        1.0, title="Weight", description="Factor of this reward; a negative one makes it a penalty.",
        json_schema_extra=unit("1"),
    )  # fmt: skip
    reward: SingleReward = Field(title="Reward", description="What is weighted.")


class SumReward(Frozen):
    """A weighted sum of rewards: R = Σ weight · reward. The mean of each is recorded beside the sum."""

    model_config = ConfigDict(title="Weighted sum")
    kind: Literal["sum"] = "sum"
    rewards: list[WeightedReward] = Field(
        min_length=1, max_length=16, title="Rewards", description="The terms of the sum, and their weights."
    )


ScoringReward = Annotated[
    RunReward | GoldReward | FunctionReward | UnitTestReward | EntailmentReward | SumReward,
    Field(discriminator="kind"),
]
RewardSource = Annotated[
    RunReward | GoldReward | DataReward | FunctionReward | UnitTestReward | EntailmentReward | SumReward,
    Field(discriminator="kind"),
]


def parts(reward: RewardSource | None) -> Iterator[tuple[str, RewardSource]]:
    """The single rewards of a reward, by where they stand: `reward` alone, or `reward.0`, `reward.1`, ... of a sum."""
    if isinstance(reward, SumReward):
        for index, term in enumerate(reward.rewards):
            yield f"reward.{index}", term.reward
    elif reward is not None:
        yield "reward", reward


def context_columns(reward: RewardSource | None) -> list[str]:
    """The columns that a reward names itself, in the order in which it names them."""
    columns: list[str] = []
    for _, part in parts(reward):
        match part:
            case FunctionReward(reference=reference):
                columns += [reference]
            case UnitTestReward(tests=tests, setup=setup, entry_point=entry_point):
                columns += [tests, setup, entry_point]
            case EntailmentReward(premise=premise):
                columns += [premise]
    return [column for column in dict.fromkeys(columns) if column]


def with_context(data: DataSource, reward: RewardSource | None) -> DataSource:
    """The data source, keeping also the columns that the reward reads. The built-in task has none to keep."""
    if isinstance(data, TaskData):
        return data
    columns = list(dict.fromkeys([*data.context, *context_columns(reward)]))
    return data.model_copy(update={"context": columns}).needing(_needed_columns(reward))


def _needed_columns(reward: RewardSource | None) -> list[str]:
    """Those of context_columns that a row cannot be scored without; only set-up code may be missing."""
    optional = {part.setup for _, part in parts(reward) if isinstance(part, UnitTestReward)}
    return [column for column in context_columns(reward) if column not in optional]


def check_reward_fits(reward: RewardSource | None, data: DataSource | None) -> None:
    """Raise ValueError where the data has no gold reward, or no columns for a reward that reads some."""
    for _, part in parts(reward):
        if data is not None and part.kind == "gold" and data.kind != "task":
            raise ValueError("the gold reward exists only for the built-in task: choose another reward")
        if data is not None and data.kind == "task" and context_columns(part):
            raise ValueError(f"the built-in task has no column {context_columns(part)[0]!r}: choose another reward")
