"""What a run is: one frozen pydantic model for each algorithm, with the paper's settings as defaults.

`RunConfig` is the union of the six, told apart by `algorithm`. Every field carries its unit and a description, because
the launch form, the command line and the documentation are made from the JSON Schema of these classes. Torch-free.

Symbols and settings: Flet-Berliac et al., *Contrastive Policy Gradient*, EMNLP 2024, Section 6 and its appendix.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, ValidationInfo, field_validator

from copg_core.errors import ConfigError
from copg_core.recipe import Checkpoints, Divergence, EvaluationPlan, Lora, Optimizer, Sampling, SFTOptimizer
from copg_core.reward_sources import GoldReward, RewardSource, RunReward, ScoringReward, check_reward_fits, parts
from copg_core.sources import (
    DataSource,
    Frozen,
    Int32,
    ModelSource,
    PresetModel,
    RunModel,
    TaskData,
    unit,
)


class _Base(Frozen):
    policy: ModelSource = Field(default_factory=PresetModel, title="Model", description="Where training starts from.")
    data: DataSource = Field(default_factory=TaskData, title="Data", description="What it is trained on.")
    optimizer: Optimizer = Field(default_factory=Optimizer, title="Optimizer", description="AdamW and its schedule.")
    batch_size: Int32 = Field(
        128, ge=1, title="Batch size", description="Rows (SFT) or pairs in one optimizer step.",
        json_schema_extra=unit("rows or pairs"),
    )  # fmt: skip
    micro_batch_tokens: Int32 = Field(
        16_384,
        ge=16,
        title="Micro-batch",
        description="Token budget of one forward pass, padding included; changes memory and speed, not the result.",
        json_schema_extra=unit("tokens"),
    )
    gradient_checkpointing: Literal["auto", "on", "off"] = Field(
        "auto",
        title="Gradient checkpointing",
        description="Compute layers again in the backward pass: a third slower, much less memory. Auto: once memory runs out.",
    )
    sharding: Literal["none", "full"] = Field(
        "none",
        title="Sharding",
        description="With several processes: each holds the whole model, or weights and Adam's states are divided (FSDP2).",
    )
    epochs: float = Field(
        2.0,
        gt=0,
        le=100_000,
        title="Epochs",
        description="Passes over the training rows.",
        json_schema_extra=unit("passes"),
    )
    steps: Int32 | None = Field(
        None, ge=1, title="Steps", description="Optimizer steps; where given, it replaces the epochs.",
        json_schema_extra=unit("steps"),
    )  # fmt: skip
    max_prompt_tokens: Int32 = Field(
        512, ge=1, title="Longest prompt", description="A longer prompt loses its beginning; the count is reported.",
        json_schema_extra=unit("tokens"),
    )  # fmt: skip
    max_completion_tokens: Int32 = Field(
        128, ge=1, title="Longest completion", description="A longer completion loses its end; the count is reported.",
        json_schema_extra=unit("tokens"),
    )  # fmt: skip
    evaluation: EvaluationPlan = Field(
        default_factory=EvaluationPlan, title="Evaluation", description="When and on what the run is evaluated."
    )
    checkpoints: Checkpoints = Field(
        default_factory=Checkpoints, title="Checkpoints", description="When the state of training is saved."
    )
    divergence: Divergence = Field(
        default_factory=Divergence, title="Divergence", description="When the run is given up as diverged."
    )
    lora: Lora = Field(default_factory=Lora, title="LoRA", description="Adapters in place of full fine-tuning.")
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        title="Precision",
        description="Of the weights that are computed with. Masters, Adam states and log-probabilities stay float32.",
    )
    seed: int = Field(0, ge=0, lt=2**31, title="Seed", description="Of data order, initial weights and sampling.")


class SFTConfig(_Base):
    """Imitates completions: −ln π(y|x), summed over completion tokens. The paper: 2 epochs, cosine from 2e-5 to 0."""

    model_config = ConfigDict(title="Supervised fine-tuning")
    algorithm: Literal["sft"] = "sft"
    optimizer: SFTOptimizer = Field(
        default_factory=SFTOptimizer, title="Optimizer", description="AdamW and its schedule."
    )
    reward: ScoringReward | None = Field(
        None, title="Reward", description="Scores the completions of evaluations, if given; training does not use it."
    )

    @field_validator("reward")
    @classmethod
    def _reward_fits_data(cls, reward: ScoringReward | None, info: ValidationInfo) -> ScoringReward | None:
        check_reward_fits(reward, info.data.get("data"))
        return reward


class _GroupConfig(_Base):
    completions: int = Field(
        2,
        ge=2,
        le=64,
        title="Completions per prompt, k",
        description="All k stand in one row behind their prompt, and losses average over its k(k-1)/2 pairs. A prompt with "
        "more completions uses its first k, one with fewer is left out; both are reported.",
        json_schema_extra=unit("completions"),
    )


class RewardModelConfig(_GroupConfig):
    """Learns a reward from preferences (Bradley-Terry): −ln σ(R(y⁺) − R(y⁻)). The paper: 2 epochs at 1e-6."""

    model_config = ConfigDict(title="Reward model")
    algorithm: Literal["reward_model"] = "reward_model"


class _PreferenceConfig(_GroupConfig):
    policy: ModelSource = Field(
        default_factory=PresetModel,
        title="Model",
        description="Where training starts from, and the reference that KL is measured to: usually the output of an SFT run.",
    )
    reward: RewardSource = Field(
        default_factory=GoldReward,
        validate_default=True,
        title="Reward",
        description="What is maximised, or what orders the pairs of DPO and IPO.",
    )

    @field_validator("reward")
    @classmethod
    def _reward_fits_data(cls, reward: RewardSource, info: ValidationInfo) -> RewardSource:
        """On the field, not the model, so that the form shows the sentence beside the choice of reward."""
        data = info.data.get("data")
        check_reward_fits(reward, data)
        if data is not None and reward.kind == "data" and data.kind == "task":
            raise ValueError("the built-in task has a gold reward: choose it, or a reward-model run")
        return reward

    sampling: Sampling = Field(
        default_factory=Sampling,
        title="Where completions come from",
        description="Pairs of the data, or completions that the policy writes while it learns.",
    )

    @field_validator("sampling")
    @classmethod
    def _fresh_needs_a_scorer(cls, sampling: Sampling, info: ValidationInfo) -> Sampling:
        reward = info.data.get("reward")
        if sampling.fresh and reward is not None and reward.kind == "data":
            raise ValueError("the data's rewards cannot score fresh completions: choose a reward that can")
        return sampling


class CopgConfig(_PreferenceConfig):
    """Maximises any reward from scored pairs: −(ΔR − (β/2)Δh)·Δh for each pair (Eq. 5). The paper's best β is 0.06."""

    model_config = ConfigDict(title="CoPG")
    algorithm: Literal["copg"] = "copg"
    beta: float = Field(
        0.06,
        gt=0,
        title="Beta",
        description="Weight of KL to the reference.",
        json_schema_extra=unit("reward units per nat"),
    )
    group: Literal["all_pairs", "leave_one_out"] = Field(
        "all_pairs",
        title="Estimator over k completions",
        description="all_pairs: the mean of the loss over all pairs. leave_one_out: RLOO, each completion against the mean "
        "of the others; its gradient is half as large in the same direction.",
    )


class DPOConfig(_PreferenceConfig):
    """Follows the order of each pair: −ln σ(βΔh), preferred first. The paper's best β is 0.1."""

    model_config = ConfigDict(title="DPO")
    algorithm: Literal["dpo"] = "dpo"
    beta: float = Field(
        0.1,
        gt=0,
        title="Beta",
        description="Inverse scale of the implied reward.",
        json_schema_extra=unit("1 per nat"),
    )


class IPOConfig(_PreferenceConfig):
    """Drives each pair to a fixed margin: (Δh − 1/(2β))² on summed log-probabilities. The paper's best β is 0.01."""

    model_config = ConfigDict(title="IPO")
    algorithm: Literal["ipo"] = "ipo"
    beta: float = Field(
        0.01,
        gt=0,
        title="Beta",
        description="The margin aimed at is 1/(2 beta) nats.",
        json_schema_extra=unit("1 per nat"),
    )
    normalisation: Literal["sum", "mean"] = Field(
        "sum",
        title="Normalisation",
        description="Log-ratios as sums over tokens (the paper's IPO), or as means per token (IPO per token, as in TRL). "
        "The same beta means something else in each: their results are not comparable.",
    )


class PolicyGradientConfig(_PreferenceConfig):
    """The paper's control: −Σ sg[R(y) − βh(y) − b]·h(y) over a pair. Unbiased only where the policy wrote the pair."""

    model_config = ConfigDict(title="Policy gradient")
    algorithm: Literal["policy_gradient"] = "policy_gradient"
    beta: float = Field(
        0.06,
        gt=0,
        title="Beta",
        description="Weight of KL to the reference.",
        json_schema_extra=unit("reward units per nat"),
    )
    baseline: Literal["none", "value"] = Field(
        "none",
        title="Baseline",
        description="none: b = 0. value: b estimates the value of the prompt, the expected reward of the policy, as the mean "
        "reward of completions that the policy writes for this alone; it needs generation in every step, offline too.",
    )
    value_samples: int = Field(
        2,
        ge=1,
        le=64,
        title="Completions per value",
        description="How many completions are written for each prompt's value. Any number gives the same expected gradient; "
        "more give less noise.",
        json_schema_extra=unit("completions"),
    )

    @field_validator("baseline")
    @classmethod
    def _value_needs_a_scorer(cls, baseline: str, info: ValidationInfo) -> str:
        reward = info.data.get("reward")
        if baseline == "value" and reward is not None and reward.kind == "data":
            raise ValueError("the data's rewards cannot score the completions of a value: choose a reward that can")
        return baseline


def variant_of(config: Mapping[str, Any]) -> str | None:
    """What stands behind an algorithm's name wherever it is named, given a stored configuration: results of IPO per
    token may not be compared with those of the paper's IPO, nor fresh completions with the data's, without being told.

    >>> variant_of({"algorithm": "ipo", "normalisation": "mean"})
    'per token'
    >>> variant_of({"algorithm": "copg", "sampling": {"first": "policy", "second": "replay", "share": 0.5}})
    'policy and replay, share 0.5'
    """
    sampling = config.get("sampling") or {}
    first, second = sampling.get("first", "data"), sampling.get("second", "data")
    share = sampling.get("share", 1)
    told = [
        "per token" if config.get("algorithm") == "ipo" and config.get("normalisation") == "mean" else "",
        "value baseline" if config.get("baseline") == "value" else "",
        "leave-one-out" if config.get("group") == "leave_one_out" else "",
    ]
    if (first, second) != ("data", "data"):
        told.append("policy" if first == second == "policy" else f"{first} and {second}")
        told.append(f"share {share:g}" if share < 1 else "")
    return ", ".join(filter(None, told)) or None


RunConfig = SFTConfig | RewardModelConfig | CopgConfig | DPOConfig | IPOConfig | PolicyGradientConfig
PreferenceConfig = CopgConfig | DPOConfig | IPOConfig | PolicyGradientConfig
CONFIG_SCHEMA = 1
"""Raised by one with every change after which an older version cannot read a stored configuration: workers of that
version leave such runs to newer ones."""
Algorithm = Literal["sft", "reward_model", "copg", "dpo", "ipo", "policy_gradient"]
CONFIGS: dict[str, type[RunConfig]] = {
    "sft": SFTConfig,
    "reward_model": RewardModelConfig,
    "copg": CopgConfig,
    "dpo": DPOConfig,
    "ipo": IPOConfig,
    "policy_gradient": PolicyGradientConfig,
}
RUN_CONFIG: TypeAdapter[RunConfig] = TypeAdapter(Annotated[RunConfig, Field(discriminator="algorithm")])


def parents(config: RunConfig) -> dict[str, str]:
    """The earlier runs that a run needs, by role (`policy`, `reward`, `reward.0` in a sum): they must have succeeded before it can start."""
    sources = {"policy": config.policy, **dict(parts(getattr(config, "reward", None)))}
    return {role: source.run for role, source in sources.items() if isinstance(source, RunModel | RunReward)}


def prompts_alone(config: RunConfig) -> bool:
    """Whether a run uses of its data the prompts alone, because the policy writes every completion."""
    return isinstance(config, PreferenceConfig) and config.sampling.prompts_alone


def load_config(path: Path) -> RunConfig:
    """Read a run's configuration from a TOML file. Raises ConfigError naming each wrong field."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}") from error
    return parse_config(raw, source=str(path))


def parse_config(raw: object, *, source: str = "configuration") -> RunConfig:
    """Check a configuration that came from outside. Raises ConfigError with one line for each wrong field."""
    try:
        return RUN_CONFIG.validate_python(raw)
    except ValidationError as error:
        lines = [
            f"  {'.'.join(str(part) for part in item['loc'][1:]) or 'algorithm'}: {item['msg']}"
            for item in error.errors()
        ]
        raise ConfigError("\n".join([f"{source} is not a valid run:", *lines])) from error
