"""Whether a run fits its device, asked between reading the data and filling the device."""

from __future__ import annotations

from copg_core.config import RunConfig
from copg_core.encoding import TruncationReport
from copg_core.estimate import RunEstimate, estimate_run, refuse
from copg_core.inputs import Lookup
from copg_core.memory import Lengths, group_size, limits, writes_completions
from copg_core.surroundings import Surroundings, Values


def lengths_of(counted: TruncationReport, config: RunConfig, *, packed: bool) -> Lengths:
    """Row lengths from what encoding counted. Apart, each completion of a group brings its prompt along; completions that
    are still to be written may be as long as they are allowed to be."""
    rows, group = max(1, counted.rows), group_size(config)
    repeated = 1 if packed else group
    most = limits(config).completions if writes_completions(config) else 0
    completions = max(counted.completion_tokens / rows, most)
    longest_prompt = min(counted.longest_prompt, config.max_prompt_tokens)
    longest_completion = min(counted.longest_completion, config.max_completion_tokens)
    return Lengths(
        mean=repeated * counted.prompt_tokens / rows + completions,
        longest=repeated * longest_prompt + max(group * longest_completion, int(most)),
        completions=completions,
        rows=counted.rows,
        basis="data",
    )


def fit(config: RunConfig, around: Surroundings, counted: TruncationReport, *, packed: bool) -> RunEstimate | None:
    """The estimate for the data as it is; None where nobody said what the device has.

    Raises ConfigError with what is needed, what there is and what to change where the run does not fit. A rehearsal is
    told, not refused.
    """
    if around.machine is None:
        return None
    lengths = lengths_of(counted, config, packed=packed)
    estimate = estimate_run(config, around.machine, Lookup(around.resolve_run), lengths=lengths, packed=packed)
    if not around.rehearsal:
        refuse(estimate)
    return estimate


def memory_facts(estimate: RunEstimate) -> Values:
    """What a run notes about its memory before it starts."""
    memory = estimate.memory
    if memory is None:
        return {"estimate": estimate.verdict, **{f"unknown_{i}": what for i, what in enumerate(estimate.unknown)}}
    return {
        "device": estimate.machine.name,
        "needed_bytes": memory.total,
        "free_bytes": memory.device_bytes,
        "peak": memory.peak_phase,
        "micro_batch_tokens": memory.micro_batch_tokens,
        "gradient_checkpointing": memory.gradient_checkpointing,
    }
