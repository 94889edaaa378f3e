"""How long a run takes, from its FLOPs and what its device sustains. Torch-free.

seconds = FLOPs / (peak * share), with the shares of copg_core.hardware. Beside the products that training is made of, an update
moves every weight, master and moment once (28 bytes a trained parameter), no layer takes less than the 0.9 ms that starting its
kernels takes, and a generated token waits at least until all weights were read once. An estimate to choose settings by, not a promise: the
page shows the measured rest as soon as a run moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from copg_core.config import PreferenceConfig, RewardModelConfig, RunConfig, SFTConfig, prompts_alone
from copg_core.hardware import FORWARD_SHARE, TRAINING_SHARE, known_device
from copg_core.memory import Lengths, group_size, values_written
from copg_core.model_shape import ModelShape, forward_flops, train_flops

UPDATE_BYTES = 28  # read and write the working weight, its gradient, its master and two moments
LAYER_SECONDS = 0.9e-3
# What small models reach of a processor's own product rate: their matrices are narrow, and the rest is memory traffic.
CPU_SHARE = 0.4


@dataclass(frozen=True)
class Rates:
    """What a device sustains: FLOP/s with and without a backward pass, bytes/s, and seconds to start a layer's kernels."""

    training: float
    forward: float
    bandwidth: float
    layer_seconds: float


@dataclass(frozen=True)
class Stage:
    """One use of time."""

    name: str
    title: str
    seconds: float
    explanation: str


@dataclass(frozen=True)
class TimeEstimate:
    """`at_most` where the rows' lengths are the configuration's limits and not the data's own."""

    stages: tuple[Stage, ...]
    steps: int
    step_seconds: float
    step_flops: float
    at_most: bool

    @property
    def total(self) -> float:
        """Seconds of the whole run, loading apart."""
        return sum(stage.seconds for stage in self.stages)


def rates_of(device_name: str, dtype: str) -> Rates | None:
    """What a known GPU sustains by assumption; None for one that is not in the table."""
    device = known_device(device_name)
    if device is None:
        return None
    peak = device.bfloat16 if dtype == "bfloat16" else device.float32
    return Rates(peak * TRAINING_SHARE, peak * FORWARD_SHARE, device.bandwidth, LAYER_SECONDS)


def cpu_rates(product_rate: float) -> Rates:
    """What a processor sustains, from the rate of a matrix product measured on it."""
    return Rates(product_rate * CPU_SHARE, product_rate * CPU_SHARE, product_rate, 1e-4)


def estimate_time(
    config: RunConfig,
    policy: ModelShape,
    rates: Rates,
    lengths: Lengths,
    steps: int,
    *,
    rewards: Sequence[ModelShape] = (),
    checkpointing: bool = False,
    micro_batch_tokens: int = 16_384,
) -> TimeEstimate:
    """Training, evaluations, and for preference runs the one pass of reference and rewards over all pairs, which later runs
    take from the cache."""
    tokens = int(config.batch_size * lengths.mean)
    completions = int(config.batch_size * lengths.completions) if not isinstance(config, RewardModelConfig) else 0
    flops = train_flops(policy, tokens, completions, checkpointing, lengths.mean)
    trained = policy.adapter_parameters(config.lora.rank) if config.lora.enabled else policy.parameters()
    starting = -(-tokens // micro_batch_tokens) * policy.layers * rates.layer_seconds * (4 if checkpointing else 3)
    step = max(flops / rates.training, starting) + UPDATE_BYTES * trained / rates.bandwidth
    evaluations = 2 + (steps - 1) // config.evaluation.every
    each = _evaluation_seconds(config, policy, rates, lengths, rewards)
    stages = [
        *_once(config, policy, rates, lengths, rewards),
        *_writing(config, policy, rates, lengths, steps),
        Stage("training", "Training", steps * step, f"{steps:,} steps, {_work(flops)} each"),
        Stage("evaluation", "Evaluations", evaluations * each, f"{evaluations:,} of {config.evaluation.prompts} prompts"),
    ]  # fmt: skip
    return TimeEstimate(tuple(stages), steps, step, flops, at_most=lengths.basis == "limits")


def _work(flops: float) -> str:
    unit, name = next(
        one for one in ((1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP"), (1.0, "FLOP")) if flops >= one[0]
    )
    return f"{flops / unit:.3g} {name}"


def _once(
    config: RunConfig, policy: ModelShape, rates: Rates, lengths: Lengths, rewards: Sequence[ModelShape]
) -> list[Stage]:
    if not isinstance(config, PreferenceConfig) or prompts_alone(config) or lengths.rows is None:
        return []
    pairs = lengths.rows
    passes = forward_flops(policy, int(pairs * lengths.mean), int(pairs * lengths.completions), lengths.mean)
    prompt = lengths.mean - lengths.completions
    apart = pairs * (group_size(config) * prompt + lengths.completions)
    judged = sum(forward_flops(shape, int(apart), 0, prompt) for shape in rewards)
    stages = [Stage("reference", "Reference", passes / rates.forward, f"{pairs:,} pairs once, then from the cache")]
    if judged:
        stages.append(Stage("rewards", "Rewards", judged / rates.forward, f"{pairs:,} pairs once, then from the cache"))
    return stages


def _evaluation_seconds(
    config: RunConfig, policy: ModelShape, rates: Rates, lengths: Lengths, rewards: Sequence[ModelShape]
) -> float:
    """Held-out rows once; and for a policy: prompts read, tokens written one by one, what was written read again by policy,
    reference and reward models."""
    plan = config.evaluation
    held_out = forward_flops(
        policy, int(plan.prompts * lengths.mean), int(plan.prompts * lengths.completions), lengths.mean
    )
    if isinstance(config, RewardModelConfig):
        return held_out / rates.forward
    prompt = lengths.mean - lengths.completions
    written = plan.generation.max_new_tokens
    whole = int(plan.prompts * (prompt + written))
    reading = forward_flops(policy, int(plan.prompts * prompt), plan.prompts, prompt)
    reading += (1 if isinstance(config, SFTConfig) else 2) * forward_flops(
        policy, whole, plan.prompts * written, prompt
    )
    reading += sum(forward_flops(shape, whole, 0, prompt) for shape in rewards)
    writing = _writing_seconds(config, policy, rates, plan.prompts, plan.generation.batch_size, written)
    return (held_out + reading) / rates.forward + writing


def _writing_seconds(
    config: RunConfig, policy: ModelShape, rates: Rates, prompts: float, batch_size: int, tokens: int
) -> float:
    """Seconds in which completions of so many tokens are written, a batch of prompts after the other."""
    together = max(1, min(int(prompts), batch_size))
    weights = policy.parameters() * (2 if config.dtype == "bfloat16" else 4)
    one_token = max(
        weights / rates.bandwidth,
        policy.layers * rates.layer_seconds,
        forward_flops(policy, together, together) / rates.forward,
    )
    return -(-prompts // together) * tokens * one_token


def _writing(config: RunConfig, policy: ModelShape, rates: Rates, lengths: Lengths, steps: int) -> list[Stage]:
    """Completions that the policy writes in training, and what the reference says of them."""
    values = values_written(config)
    if not isinstance(config, PreferenceConfig) or not (config.sampling.fresh or values):
        return []
    plan = config.sampling
    fresh = (plan.first != "data") + (plan.second != "data") * (config.completions - 1)
    written = config.batch_size * (plan.share * fresh + values)
    prompt = lengths.mean - lengths.completions
    rows = int(config.batch_size * plan.share * lengths.mean)
    reading = forward_flops(policy, int(written * prompt) + rows, int(written * plan.max_new_tokens), prompt)
    seconds = _writing_seconds(config, policy, rates, written, plan.batch_size, plan.max_new_tokens)
    each = seconds + reading / rates.forward
    return [Stage("fresh", "Fresh completions", steps * each, f"{written:,.0f} in each step, at most")]
