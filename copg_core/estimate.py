"""What a run will cost: its memory and its time on one device, in words. Torch-free.

The launch page, `--dry-run` and the start of every run ask here, so that all three say the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from copg_core.config import RunConfig
from copg_core.duration import Rates, TimeEstimate, estimate_time, rates_of
from copg_core.errors import ConfigError, ModelError
from copg_core.hardware import DEVICES, known_device
from copg_core.inputs import Lookup, entailment_shapes, expected_lengths, policy_shape, reward_shapes
from copg_core.memory import Lengths, MemoryEstimate, estimate_memory
from copg_core.model_shape import ModelShape
from copg_core.schedule import total_steps


@dataclass(frozen=True)
class Machine:
    """One device. `memory` in bytes and `rates` are None where they are not known; `name` is what its driver reports."""

    name: str
    memory: int | None
    cpu: bool = False
    rates: Rates | None = None
    shards: int = 1

    def rates_for(self, dtype: str) -> Rates | None:
        """Measured rates, or those of the table."""
        return self.rates or rates_of(self.name, dtype)


def named_machine(name: str, shards: int = 1) -> Machine:
    """A GPU by a name that the table of devices knows, one of `shards` that divide a model. Raises ConfigError."""
    device = known_device(name)
    if device is None:
        known = ", ".join(sorted({one.name for one in DEVICES}))
        raise ConfigError(f"the GPU {name!r} is not in the table of copg_core/hardware.py, which knows {known}")
    return Machine(device.name, device.memory_mib * 2**20, shards=shards)


@dataclass(frozen=True)
class RunEstimate:
    """`memory` is None where the model's size is not known, `time` also where the device's speed or the rows are not.

    `verdict` is the sentence for people; `unknown` says what could not be told and why.
    """

    machine: Machine
    memory: MemoryEstimate | None
    time: TimeEstimate | None
    verdict: str
    unknown: tuple[str, ...] = ()
    lengths: Lengths | None = None

    @property
    def checkpointing(self) -> bool:
        """Whether the run needs gradient checkpointing from its first step."""
        return self.memory is not None and self.memory.gradient_checkpointing

    @property
    def fits(self) -> bool | None:
        """Whether the device has the memory; None where one of the two is not known."""
        return self.memory.fits if self.memory is not None else None

    def lines(self) -> list[str]:
        """The estimate for a terminal."""
        lines = []
        if self.memory is not None:
            memory = self.memory
            for part in memory.parts:
                when = "" if part.phase == "always" else f" [{part.phase}]"
                lines.append(f"memory{when}: {size(part.bytes)} {_inside(part.title)}: {part.explanation}")
            lines.append(f"memory: {size(memory.total)} at the most, in {_at(memory)}")
        if self.time is not None:
            bound = "at most " if self.time.at_most else "about "
            lines += [
                f"time: {duration(stage.seconds)} {_inside(stage.title)}: {stage.explanation}"
                for stage in self.time.stages
            ]
            lines.append(
                f"time: {bound}{duration(self.time.total)} on {self.machine.name}, {self.time.step_seconds:.3g} s a step"
            )
        return [*lines, *(f"not known: {what}" for what in self.unknown), self.verdict]


def estimate_run(
    config: RunConfig,
    machine: Machine,
    lookup: Lookup | None = None,
    *,
    lengths: Lengths | None = None,
    packed: bool = True,
) -> RunEstimate:
    """Memory and time of a run on one device; what is not known is said, never raised."""
    lookup = lookup or Lookup()
    lengths = lengths or expected_lengths(config, lookup)
    try:
        policy, rewards = policy_shape(config, lookup), reward_shapes(config, lookup)
    except ModelError as error:
        verdict = "The size of the model is not known, so nothing can be said."
        return RunEstimate(machine, None, None, verdict, (str(error),), lengths)
    judges, not_known = entailment_shapes(config)
    rewards = [*rewards, *judges]
    memory = _memory(config, machine, policy, rewards, lengths, packed)
    time, unknown = _time(config, machine, policy, rewards, lengths, memory)
    verdict = _verdict(config, machine, policy, rewards, lengths, memory, packed)
    return RunEstimate(machine, memory, time, verdict, (*not_known, *unknown), lengths)


def refuse(estimate: RunEstimate) -> None:
    """Raise ConfigError with the verdict where a run is known not to fit."""
    if estimate.fits is False:
        raise ConfigError(estimate.verdict)


def _memory(
    config: RunConfig,
    machine: Machine,
    policy: ModelShape,
    rewards: Sequence[ModelShape],
    lengths: Lengths,
    packed: bool,
) -> MemoryEstimate:
    return estimate_memory(
        config,
        policy,
        machine.memory,
        rewards=rewards,
        lengths=lengths,
        cpu=machine.cpu,
        shards=machine.shards,
        packed=packed,
    )


def _time(
    config: RunConfig,
    machine: Machine,
    policy: ModelShape,
    rewards: Sequence[ModelShape],
    lengths: Lengths,
    memory: MemoryEstimate,
) -> tuple[TimeEstimate | None, list[str]]:
    rates = machine.rates_for(config.dtype)
    if rates is None:
        return None, [f"how fast {machine.name} is, so no time is given"]
    if config.steps is None and lengths.rows is None:
        return None, ["how many rows the data has, so no time is given"]
    steps = total_steps(config, lengths.rows or 0)
    time = estimate_time(
        config,
        policy,
        rates,
        lengths,
        steps,
        rewards=rewards,
        checkpointing=memory.gradient_checkpointing,
        micro_batch_tokens=memory.micro_batch_tokens,
    )
    return time, []


# ---------------------------------------------------------------- words


def _verdict(
    config: RunConfig,
    machine: Machine,
    policy: ModelShape,
    rewards: Sequence[ModelShape],
    lengths: Lengths,
    memory: MemoryEstimate,
    packed: bool,
) -> str:
    need = size(memory.total)
    if memory.device_bytes is None:
        return f"Needs {need}; the memory of {machine.name} is not known."
    alone = config.sharding == "full" and machine.shards == 1
    divided = f", divided among {machine.shards} processes" if machine.shards > 1 else ""
    has = (
        f"{machine.name} has {size(memory.device_bytes)}{divided}{', computed for one process alone' if alone else ''}"
    )
    if memory.fits:
        with_help = " with gradient checkpointing" if memory.gradient_checkpointing else ""
        return f"Fits{with_help}: needs {need}, {has}."
    largest = sorted(memory.peak_parts(), key=lambda part: -part.bytes)[:3]
    why = ", ".join(f"{_inside(part.title)} {size(part.bytes)}" for part in largest)
    helps = []
    for way in _ways_out(config, memory):
        tried = ((what, _memory(changed, machine, policy, rewards, lengths, packed)) for what, changed in way)
        if found := next((f"{what} ({size(other.total)})" for what, other in tried if other.fits), None):
            helps.append(found)
    advice = (
        f"It would fit with {', or '.join(helps[:3])}." if helps else "No setting makes it fit: a smaller model does."
    )
    return f"Does not fit: needs {need}, {has}. Most of it: {why}. {advice}"


def _ways_out(config: RunConfig, memory: MemoryEstimate) -> Iterator[list[tuple[str, RunConfig]]]:
    """Changes that need less memory, the least intrusive first; of each list the first that fits is worth naming."""

    def halves(start: int, least: int) -> list[int]:
        return [start >> power for power in range(1, 20) if start >> power >= least]

    def changed(base: RunConfig | None = None, **settings: Any) -> RunConfig:
        return (base or config).model_copy(update=settings)

    def prompts_at_once(count: int, base: RunConfig) -> RunConfig:
        generation = base.evaluation.generation.model_copy(update={"batch_size": count})
        return changed(base, evaluation=base.evaluation.model_copy(update={"generation": generation}))

    checkpointed = changed(gradient_checkpointing="on")
    if memory.peak_phase == "generation":
        together = config.evaluation.generation.batch_size
        yield [(f"{count} prompts generated at once", prompts_at_once(count, config)) for count in halves(together, 1)]
    yield [
        (f"a micro-batch of {n} tokens", changed(micro_batch_tokens=n)) for n in halves(memory.micro_batch_tokens, 256)
    ]
    if not memory.gradient_checkpointing:
        yield [("gradient checkpointing", checkpointed)]
    if config.dtype == "float32":
        yield [
            ("bfloat16", changed(dtype="bfloat16")),
            ("bfloat16 and gradient checkpointing", changed(checkpointed, dtype="bfloat16")),
        ]
    if not config.lora.enabled:
        adapters: dict[str, Any] = {"lora": config.lora.model_copy(update={"enabled": True})}
        narrow = adapters | {"dtype": "bfloat16"}
        in_bfloat16 = "LoRA" if config.dtype == "bfloat16" else "LoRA in bfloat16"
        yield [
            ("LoRA", changed(config, **adapters)),
            (in_bfloat16, changed(config, **narrow)),
            (f"{in_bfloat16} and gradient checkpointing", changed(checkpointed, **narrow)),
            (
                f"{in_bfloat16}, gradient checkpointing, a micro-batch of 1024 tokens and 8 prompts generated at once",
                prompts_at_once(8, changed(checkpointed, **narrow, micro_batch_tokens=1024)),
            ),
        ]  # fmt: skip


def _at(memory: MemoryEstimate) -> str:
    if memory.peak_phase != "step":
        return f"the {memory.peak_phase} of an evaluation"
    return f"a step with micro-batches of {memory.micro_batch_tokens:,} tokens" + (
        " and gradient checkpointing" if memory.gradient_checkpointing else ""
    )


def _inside(title: str) -> str:
    """A title in the middle of a sentence."""
    return title[0].lower() + title[1:]


def size(amount: float) -> str:
    """Bytes in decimal units, as makers of memory count.

    >>> size(107_814_649_856), size(2_500_000)
    ('107.8 GB', '2.5 MB')
    """
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if amount >= unit:
            return f"{amount / unit:.1f} {name}"
    return f"{amount:.0f} B"


def duration(seconds: float) -> str:
    """Two units are enough.

    >>> duration(0.4), duration(95), duration(9_000), duration(200_000)
    ('0.4 s', '1 min 35 s', '2 h 30 min', '2 d 8 h')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for big, small, names in ((86_400, 3600, ("d", "h")), (3600, 60, ("h", "min")), (60, 1, ("min", "s"))):
        if whole >= big:
            return f"{whole // big} {names[0]} {whole % big // small} {names[1]}"
    return f"{whole} s"
