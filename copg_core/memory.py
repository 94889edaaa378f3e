"""How much memory a run needs, from its configuration and the shape of its models, before anything is loaded. Torch-free.

With P parameters of which T are trained, b bytes a working weight (2 in bfloat16, 4 in float32), L layers, width H, inner
width I, and N tokens in one micro-batch:

    always       weights b P, float32 masters 4 T (bfloat16 only), Adam's two moments 8 T, reward models b P' each
    in a step    gradients b T; kept for the backward pass N L (2 to 90 H, see `kept_per_token`); the head's chunk
    generation   keys and values of the prompts that an evaluation generates for together
    scoring      the reference b P while it visits the device, one layer's activations

The need is what is always there and the largest of the other three. Full fine-tuning of Llama2-7B in bfloat16: 16 P = 107.8 GB, and
2.68 GB a pair of 430 tokens. What this leaves out (allocator's fragments, workspaces of kernels) is the part `runtime`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from copg_core.config import PolicyGradientConfig, PreferenceConfig, RewardModelConfig, RunConfig, SFTConfig
from copg_core.model_shape import ModelShape

Phase = Literal["always", "step", "generation", "scoring"]
MOMENTS: tuple[Phase, ...] = ("step", "generation", "scoring")

# CUDA's context, cuBLAS workspaces and what the caching allocator cannot hand out again; Python with torch on a CPU.
CUDA_RUNTIME = 2 * 2**30
CPU_RUNTIME = 640 * 2**20
# The chunked head keeps this many logits at once; copg_core.logprobs has the same constant.
LOGITS_AT_ONCE = 2**25
# A token id in a Python list: a pointer and, for most ids, an object of its own.
BYTES_PER_TOKEN_ID = 36


@dataclass(frozen=True)
class Lengths:
    """Tokens of the training rows as they are laid out: mean and longest row, mean of all completions of a row.

    `rows` is None where the data was not counted. `basis`: read from the data, from some of it or from what is published
    about it, or only the limits of the configuration, which no row exceeds.
    """

    mean: float
    longest: int
    completions: float
    rows: int | None = None
    basis: Literal["data", "sample", "limits"] = "limits"


@dataclass(frozen=True)
class Part:
    """Bytes of one use of memory, and when they are taken."""

    name: str
    title: str
    bytes: int
    phase: Phase
    explanation: str


@dataclass(frozen=True)
class MemoryEstimate:
    """What a run needs of its device. `device_bytes` is None where nobody said what the device has."""

    parts: tuple[Part, ...]
    device_bytes: int | None
    micro_batch_tokens: int
    gradient_checkpointing: bool

    def phase_bytes(self, phase: Phase) -> int:
        """Sum of the parts of one phase."""
        return sum(part.bytes for part in self.parts if part.phase == phase)

    @property
    def peak_phase(self) -> Phase:
        """The moment that needs the most."""
        return max(MOMENTS, key=self.phase_bytes)

    @property
    def total(self) -> int:
        """The most that is taken at one moment."""
        return self.phase_bytes("always") + self.phase_bytes(self.peak_phase)

    @property
    def fits(self) -> bool | None:
        """Whether the device has as much; None where that is not known."""
        return None if self.device_bytes is None else self.total <= self.device_bytes

    def peak_parts(self) -> list[Part]:
        """The parts that stand in memory at the peak: they sum to `total`."""
        return [part for part in self.parts if part.phase in ("always", self.peak_phase)]


def group_size(config: RunConfig) -> int:
    """Completions that share a prompt in one row."""
    return 1 if isinstance(config, SFTConfig) else config.completions


def writes_completions(config: RunConfig) -> bool:
    """Whether the policy writes completions in training, not only in evaluations."""
    return isinstance(config, PreferenceConfig) and config.sampling.fresh


def values_written(config: RunConfig) -> int:
    """Completions of a row that are written for a value baseline alone."""
    return config.value_samples if isinstance(config, PolicyGradientConfig) and config.baseline == "value" else 0


def limits(config: RunConfig) -> Lengths:
    """The longest rows that a configuration lets through, where nothing is known of the data."""
    each = config.max_completion_tokens
    if isinstance(config, PreferenceConfig) and config.sampling.fresh:
        each = (
            config.sampling.max_new_tokens
            if config.sampling.prompts_alone
            else max(each, config.sampling.max_new_tokens)
        )
    completions = each * group_size(config)
    row = config.max_prompt_tokens + completions
    return Lengths(mean=row, longest=row, completions=completions)


def estimate_memory(
    config: RunConfig,
    policy: ModelShape,
    device_bytes: int | None = None,
    *,
    rewards: Sequence[ModelShape] = (),
    lengths: Lengths | None = None,
    cpu: bool = False,
    shards: int = 1,
    packed: bool = True,
) -> MemoryEstimate:
    """The memory that training one run takes on one device.

    policy, rewards   shapes of the trained model and of the models (of rewards, of entailment) that score its evaluations
    lengths           of the data where it was read; else the configuration's limits, which only overestimates
    cpu               the device is the processor: reference, data and the interpreter then share its memory
    shards            processes among which weights, gradients and Adam's states are divided (FSDP2)
    packed            False where the architecture needs a row for each completion

    Where gradient checkpointing is left to the program (`auto`), it is used exactly if the run does not fit without.
    """

    def attempt(checkpointing: bool) -> MemoryEstimate:
        return _Sizes(config, policy, rewards, lengths or limits(config), cpu, shards, packed).estimate(
            device_bytes, checkpointing
        )

    wanted = config.gradient_checkpointing
    plain = attempt(wanted == "on")
    return attempt(True) if wanted == "auto" and plain.fits is False else plain


def kept_per_token(shape: ModelShape, bytes_each: int, *, trained: bool = True) -> int:
    """Bytes that one layer keeps of each token for its backward pass.

    Normalisations (in float32, with a copy in the working precision), the inputs of the matrices, queries, keys, values and the
    output of attention, and the inner activations: 47.5 H in bfloat16 and 87 H in float32 at Llama2's proportions, where
    46.5 to 47.6 H and 85 to 87 H were measured. Frozen weights (adapters) do not ask for the normalised input.
    """
    b = bytes_each
    normalised = 2 * shape.width + (shape.query_width + shape.key_width if shape.query_norm else 0)
    norms = normalised * (4 + (b if trained else 0) + b)
    attention = 3 * shape.query_width + 2 * shape.key_width
    return norms + b * (attention + shape.inner_kept * shape.inner)


class _Sizes:
    def __init__(
        self,
        config: RunConfig,
        policy: ModelShape,
        rewards: Sequence[ModelShape],
        lengths: Lengths,
        cpu: bool,
        shards: int,
        packed: bool,
    ) -> None:
        self.config, self.shape, self.rewards, self.lengths = config, policy, rewards, lengths
        self.cpu, self.shards = cpu, shards
        self.b = 2 if config.dtype == "bfloat16" else 4
        self.language_model = not isinstance(config, RewardModelConfig)
        self.parameters = policy.parameters(head=self.language_model or cpu)
        self.trained = policy.adapter_parameters(config.lora.rank) if config.lora.enabled else self.parameters
        self.sequence = lengths.longest if packed else -(-lengths.longest // group_size(config))
        # No micro-batch is larger than its budget, except for a single row that is; none is larger than the batch.
        budget = min(config.micro_batch_tokens, int(config.batch_size * lengths.mean) + 1)
        self.tokens = max(lengths.longest, budget)

    def estimate(self, device_bytes: int | None, checkpointing: bool) -> MemoryEstimate:
        parts = [*self._always(), *self._step(checkpointing), *self._evaluation()]
        kept = tuple(part for part in parts if part.bytes > 0)
        return MemoryEstimate(kept, device_bytes, self.tokens, checkpointing)

    def _always(self) -> list[Part]:
        adapters = self.trained if self.config.lora.enabled else 0
        weights = self.b * (self.parameters + adapters) // self.shards
        masters = 4 * self.trained // self.shards if self.b == 2 else 0
        judges = sum(self.b * shape.parameters(head=False) for shape in self.rewards)
        rests = self.b * self.parameters if self.cpu and self._has_reference() else 0
        rows = self.lengths.rows or 0
        data = int(rows * self.lengths.mean * BYTES_PER_TOKEN_ID) if self.cpu else 0
        precision = "bfloat16" if self.b == 2 else "float32"
        return [
            Part("weights", "Weights", weights, "always", f"{self.parameters:,} parameters in {precision}"),
            Part("masters", "Master weights", masters, "always", "float32 values that the updates go to"),
            Part("adam", "Moments of Adam", 8 * self.trained // self.shards, "always", f"two float32 values for {self.trained:,} trained parameters"),
            Part("reward_model", "Reward models", judges, "always", "score the completions of evaluations"),
            Part("reference", "Reference", rests, "always", "the frozen copy that KL is measured to"),
            Part("data", "Data", data, "always", "token ids of the training rows"),
            Part("runtime", "Runtime", CPU_RUNTIME if self.cpu else CUDA_RUNTIME, "always", "interpreter, libraries and workspaces of kernels (assumed)"),
        ]  # fmt: skip

    def _step(self, checkpointing: bool) -> list[Part]:
        shape, b, n = self.shape, self.b, self.tokens
        layer = kept_per_token(shape, b, trained=not self.config.lora.enabled) + b * self.sequence  # attention's mask
        # While one layer goes back, the gradients of its inner activations and of its input are alive beside them.
        working = b * (3 * shape.inner + 4 * shape.width) + 4 * shape.width
        ends = (b + 8) * shape.width  # embeddings and the last normalisation
        kept = shape.layers * (b * shape.width if checkpointing else layer) + (layer if checkpointing else 0)
        how = "recomputed layer by layer" if checkpointing else f"kept for the backward pass in {shape.layers} layers"
        return [
            Part("gradients", "Gradients", b * self.trained // self.shards, "step", "one for each trained parameter"),
            Part("activations", "Activations", n * (kept + working + ends), "step", f"micro-batch of {n:,} tokens, {how}"),
            Part("head", "Output head", self._head(), "step", "logits of completion positions, in chunks, in float32"),
        ]  # fmt: skip

    def _head(self) -> int:
        """A chunk's logits three times over, hidden states of completion positions, and the head's gradient in float32."""
        if not self.language_model:
            return 0
        share = self.lengths.completions / self.lengths.mean
        positions = int(self.tokens * share)
        chunk = min(positions, max(1, LOGITS_AT_ONCE // self.shape.vocabulary))
        gradient = 0 if self.config.lora.enabled else (4 + self.b) * self.shape.embedding_parameters
        return 3 * 4 * chunk * self.shape.vocabulary + 2 * self.b * positions * self.shape.width + gradient

    def _evaluation(self) -> list[Part]:
        if not self.language_model:
            return []
        shape, plan = self.shape, self.config.evaluation.generation
        together = min(plan.batch_size, self.config.evaluation.prompts)
        written = plan.max_new_tokens
        if isinstance(self.config, PreferenceConfig) and (
            writes_completions(self.config) or values_written(self.config)
        ):
            together = max(together, self.config.sampling.batch_size)
            written = max(written, self.config.sampling.max_new_tokens)
        positions = together * (self.config.max_prompt_tokens + written)
        cache = positions * 2 * shape.key_width * shape.layers * self.b
        # The sampler works on float64 copies of one position's logits: probabilities, their sums, and float32 scores.
        sampling = together * shape.vocabulary * (3 * 8 + 4)
        passing = self.tokens * self.b * (3 * shape.inner + 6 * shape.width)
        reading = together * self.config.max_prompt_tokens * self.b * (3 * shape.inner + 6 * shape.width)
        visits = 0 if self.cpu or not self._has_reference() else self.b * self.parameters
        return [
            Part("visit", "Visiting reference", visits, "scoring", "visits the device to score what was generated"),
            Part("generation", "Generation", cache + sampling + reading, "generation", f"keys and values of {together} prompts at once"),
            Part("scoring", "Scoring", passing, "scoring", "one layer's activations, without gradients"),
        ]  # fmt: skip

    def _has_reference(self) -> bool:
        """A frozen copy: adapters are switched off instead, and SFT and reward models measure no KL."""
        return isinstance(self.config, PreferenceConfig) and not self.config.lora.enabled
