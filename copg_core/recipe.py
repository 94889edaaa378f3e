"""How a run is trained, evaluated and saved: the parts of a configuration that every algorithm shares. Torch-free.

Settings: Flet-Berliac et al., *Contrastive Policy Gradient*, EMNLP 2024, Section 6 and its appendix.
"""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from copg_core.sources import Frozen, Int32, unit


class Optimizer(Frozen):
    """AdamW and its learning-rate schedule."""

    model_config = ConfigDict(title="Optimizer")
    learning_rate: float = Field(
        1e-6,
        gt=0,
        le=1,
        title="Learning rate",
        description="Peak, reached after the warm-up.",
        json_schema_extra=unit("1"),
    )
    schedule: Literal["constant", "cosine"] = Field(
        "constant", title="Schedule", description="After the warm-up: constant, or cosine down to zero."
    )
    warmup_share: float = Field(
        0.1,
        ge=0,
        le=1,
        title="Warm-up",
        description="Share of all steps over which the rate rises linearly from zero.",
        json_schema_extra=unit("share of steps"),
    )
    weight_decay: float = Field(
        0.0, ge=0, title="Weight decay", description="Decoupled (AdamW).", json_schema_extra=unit("1")
    )
    beta1: float = Field(0.9, ge=0, lt=1, title="Adam beta 1", description="Decay of the first moment.")
    beta2: float = Field(0.999, ge=0, lt=1, title="Adam beta 2", description="Decay of the second moment.")
    epsilon: float = Field(1e-8, gt=0, title="Adam epsilon", description="Added to the root of the second moment.")
    max_grad_norm: float = Field(
        1.0, gt=0, title="Gradient clip", description="Largest global gradient norm.", json_schema_extra=unit("2-norm")
    )


class SFTOptimizer(Optimizer):
    """AdamW with the paper's settings for supervised fine-tuning: cosine from 2e-5 to 0."""

    learning_rate: float = Field(
        2e-5,
        gt=0,
        le=1,
        title="Learning rate",
        description="Peak, reached after the warm-up.",
        json_schema_extra=unit("1"),
    )
    schedule: Literal["constant", "cosine"] = Field(
        "cosine", title="Schedule", description="After the warm-up: constant, or cosine down to zero."
    )


class Generation(Frozen):
    """How completions are sampled in evaluations."""

    model_config = ConfigDict(title="Generation")
    max_new_tokens: int = Field(
        53,
        ge=1,
        le=8192,
        title="Longest completion",
        description="A completion that has no EOS by then counts as unfinished.",
        json_schema_extra=unit("tokens"),
    )
    temperature: float = Field(
        1.0,
        ge=0,
        le=5,
        title="Temperature",
        description="1 samples from the policy itself, which makes KL an unbiased estimate; 0 is greedy.",
        json_schema_extra=unit("1"),
    )
    batch_size: Int32 = Field(
        64, ge=1, title="Prompts at once", description="Prompts generated together.", json_schema_extra=unit("prompts")
    )


Source = Literal["data", "replay", "policy"]


class Sampling(Frozen):
    """Where the completions of a row come from, which Theorem 1 leaves free: the data, the policy as it is, or a replay of
    what it wrote before. Anything but the data needs a reward that can score fresh completions."""

    model_config = ConfigDict(title="Where completions come from")
    first: Source = Field(
        "data",
        title="First completion",
        description="data: one of the row's own. policy: written by the policy now. replay: drawn from what the policy wrote "
        "earlier for the same prompt, or written now where there is nothing yet.",
    )
    second: Source = Field(
        "data",
        title="Second completion",
        description="The same for the second completion, and for all further ones where k is larger than 2.",
    )
    share: float = Field(
        1.0,
        gt=0,
        le=1,
        title="Mixing share",
        description="Share of each batch's rows made in this way; the others are the data's rows as they are.",
        json_schema_extra=unit("share of rows"),
    )
    every: Int32 = Field(
        1,
        ge=1,
        title="Generation period",
        description="Steps between rounds of generation: the policy that writes is up to this many steps older, less one, than "
        "the policy that learns. 1 is on-policy.",
        json_schema_extra=unit("steps"),
    )
    buffer: Int32 = Field(
        4096,
        ge=1,
        title="Replay capacity",
        description="Completions that are kept for replay; the oldest leave first. It is part of every checkpoint.",
        json_schema_extra=unit("completions"),
    )
    max_new_tokens: int = Field(
        53,
        ge=1,
        le=8192,
        title="Longest completion",
        description="A completion without EOS by then is cut, keeps no EOS, and is scored as unfinished.",
        json_schema_extra=unit("tokens"),
    )
    temperature: float = Field(
        1.0,
        gt=0,
        le=5,
        title="Temperature",
        description="Of generation and of all log-probabilities of the loss and the reference alike: at another temperature "
        "than 1 it is the policy at that temperature which is trained, so generate with it afterwards.",
        json_schema_extra=unit("1"),
    )
    batch_size: Int32 = Field(
        64, ge=1, title="Prompts at once", description="Prompts generated together.", json_schema_extra=unit("prompts")
    )

    @property
    def fresh(self) -> bool:
        """Whether the policy writes any of the completions."""
        return {self.first, self.second} != {"data"}

    @property
    def prompts_alone(self) -> bool:
        """Whether the data's own completions are never used, so that prompts are enough."""
        return self.share == 1 and "data" not in (self.first, self.second)


class EvaluationPlan(Frozen):
    """When and on what the run is evaluated."""

    model_config = ConfigDict(title="Evaluation")
    every: Int32 = Field(
        50, ge=1, title="Period", description="Steps between evaluations; step 0 and the last step are always evaluated.",
        json_schema_extra=unit("steps"),
    )  # fmt: skip
    prompts: Int32 = Field(
        128,
        ge=2,
        title="Prompts",
        description="Size of the fixed evaluation set, the first distinct validation prompts (pairs for a reward model).",
        json_schema_extra=unit("prompts"),
    )
    generation: Generation = Field(default_factory=Generation, title="Generation", description="Sampling settings.")


class Checkpoints(Frozen):
    """When the state of training is saved, and how much of it is kept."""

    model_config = ConfigDict(title="Checkpoints")
    every: Int32 = Field(
        100, ge=1, title="Period", description="Steps between checkpoints.", json_schema_extra=unit("steps")
    )
    keep: Int32 = Field(
        1,
        ge=1,
        title="Keep",
        description="How many of the newest are kept, beside the last from before a divergence.",
        json_schema_extra=unit("checkpoints"),
    )
    keep_best: bool = Field(
        False,
        title="Keep the best",
        description="Also the one whose evaluation, at the very same step, has the highest reward.",
    )
    keep_every: Int32 = Field(
        0,
        ge=0,
        title="Keep every",
        description="Also those whose step is a multiple of this. 0 switches it off.",
        json_schema_extra=unit("steps"),
    )


class Divergence(Frozen):
    """When a run counts as diverged and ends with its last good checkpoint. A loss that is no number always does."""

    model_config = ConfigDict(title="Divergence")
    kl: float = Field(
        10.0,
        ge=0,
        title="KL limit",
        description="Of an evaluation, divided by its mean length or the first one's. 10 nats are about the log of a "
        "vocabulary: the reference would find random tokens as likely. 0 switches this off.",
        json_schema_extra=unit("nats per token"),
    )
    log_ratio: float = Field(
        20.0,
        ge=0,
        title="Log-ratio limit",
        description="Of a step: mean distance to the reference on the data's completions. 0 switches this off.",
        json_schema_extra=unit("nats per token"),
    )
    reward_drop: float = Field(
        3.0,
        ge=0,
        title="Reward drop",
        description="Fall of the evaluation reward below its start that counts as collapse. 0 switches this off.",
        json_schema_extra=unit("standard deviations over prompts"),
    )
    evaluations: Int32 = Field(
        3,
        ge=1,
        title="In a row",
        description="Evaluations with such a reward, one after the other, that end the run.",
        json_schema_extra=unit("evaluations"),
    )


class Lora(Frozen):
    """Low-rank adapters in place of full fine-tuning."""

    model_config = ConfigDict(title="LoRA")
    enabled: bool = Field(
        False, title="Use LoRA", description="Train adapters; the reference is the model without them."
    )
    rank: int = Field(16, ge=1, le=1024, title="Rank", description="Inner dimension of each adapter.")
    alpha: float = Field(32.0, gt=0, title="Alpha", description="Adapters are scaled by alpha / rank.")
