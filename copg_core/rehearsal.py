"""`--dry-run`: check everything that can be checked, say what a run would do and cost, train nothing.

What is not on this machine yet (a model or data of the hub, the output of a run that is still to be trained) is not
fetched: the plan says that it was not checked, and estimates from the shape that the model is known to have.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from copg_core.config import RunConfig, SFTConfig, prompts_alone
from copg_core.datasets import Split, load_comparisons, load_demonstrations, load_prompts
from copg_core.errors import ModelError
from copg_core.estimate import Machine, RunEstimate, estimate_run
from copg_core.inputs import Lookup, absent, data_is_here, expected_lengths, policy_shape
from copg_core.machine import this_machine, with_measured_rate
from copg_core.prepare import prepare
from copg_core.processes import processes_for_run
from copg_core.schedule import total_steps
from copg_core.surroundings import Surroundings, Values

Fact = tuple[str, Values]


def plan(
    config: RunConfig, lookup: Lookup | None = None, machine: Machine | None = None
) -> tuple[list[str], RunEstimate]:
    """Lines that say what a run would do, and its estimate. `machine` is the device to estimate for; by default this one.

    Raises the CopgError of whatever is wrong. That a run would not fit is in the estimate, not an error.
    """
    lookup = lookup or Lookup()
    missing = absent(config, lookup)
    if missing:
        facts, estimate = _without_models(config, lookup, machine or _here(config, lookup))
    else:
        facts, estimate = _with_everything(config, lookup, machine)
    return [*_what(config, facts, estimate), *(f"not checked: {what}" for what in missing), *estimate.lines()], estimate


def _here(config: RunConfig, lookup: Lookup) -> Machine:
    with processes_for_run() as processes:
        return _measured(_divided(this_machine(processes), processes.count, config), config, lookup)


def _divided(machine: Machine, processes: int, config: RunConfig) -> Machine:
    """The share of one of several processes, where the weights are divided among them."""
    return replace(machine, shards=processes if config.sharding == "full" else 1)


def _measured(machine: Machine, config: RunConfig, lookup: Lookup) -> Machine:
    try:
        return with_measured_rate(machine, policy_shape(config, lookup)) if machine.cpu else machine
    except ModelError:
        return machine  # the estimate says itself that the model's size is not known


def _with_everything(config: RunConfig, lookup: Lookup, machine: Machine | None) -> tuple[list[Fact], RunEstimate]:
    """Load models and data as a run would; rewards and reference of a few pairs show that they can be computed."""
    with processes_for_run() as processes:
        there = machine or _measured(_divided(this_machine(processes), processes.count, config), config, lookup)
        prepared = prepare(config, Surroundings(processes, lookup.resolve_run, rehearsal=True, machine=there))
    assert prepared.estimate is not None  # the machine is known
    return [(report.section, report.values) for report in prepared.reports], prepared.estimate


def _without_models(config: RunConfig, lookup: Lookup, machine: Machine) -> tuple[list[Fact], RunEstimate]:
    """Data that is here is read to its end all the same; lengths in tokens stay those that are expected."""
    lengths = expected_lengths(config, lookup)
    facts: list[Fact] = []
    if data_is_here(config):
        split: Split[Any]
        if isinstance(config, SFTConfig):
            split = load_demonstrations(config.data)
        else:
            split = load_prompts(config.data) if prompts_alone(config) else load_comparisons(config.data)
        facts.append(("data", split.report))
        lengths = replace(lengths, rows=len(split.train))
    return facts, estimate_run(config, machine, lookup, lengths=lengths)


def _what(config: RunConfig, facts: list[Fact], estimate: RunEstimate) -> list[str]:
    lines = [_steps(config, estimate)]
    for section, values in facts:
        if section in ("pairs", "rewards", "memory"):
            continue  # counted on a few pairs only; said by the estimate
        shown = ", ".join(f"{name} {value}" for name, value in values.items() if value not in (None, ""))
        lines.append(f"{section}: {shown}")
    return lines


def _steps(config: RunConfig, estimate: RunEstimate) -> str:
    rows = estimate.lengths.rows if estimate.lengths is not None else None
    if rows is None and config.steps is None:
        return f"{config.algorithm}: {config.epochs:g} epochs in batches of {config.batch_size}"
    steps = total_steps(config, rows or 0)
    evaluations = 2 + (steps - 1) // config.evaluation.every
    counted = "" if rows is None else f", {rows:,} training rows"
    return (
        f"{config.algorithm}: {steps:,} steps of {config.batch_size}{counted}; {evaluations} evaluations, "
        f"checkpoints every {config.checkpoints.every} steps"
    )
