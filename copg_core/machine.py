"""The device that this process computes on: its name, the memory that is free on it, and how fast a processor multiplies."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch

from copg_core.duration import cpu_rates
from copg_core.estimate import Machine
from copg_core.model_shape import ModelShape
from copg_core.processes import Processes

CGROUP = Path("/sys/fs/cgroup")
MEASURED_SECONDS = 0.05
MEASURED_TOKENS = 512


def this_machine(processes: Processes) -> Machine:
    """What is known of a run's device before anything stands on it: memory is what is free now, not what is built in.

    Of several processes the one with the least decides, so that all decide alike; processors share their memory.
    """
    device = processes.device
    if device.type == "cuda":
        name, free = torch.cuda.get_device_name(device), torch.cuda.mem_get_info(device)[0]
    else:
        name, free = "this processor", (free_main_memory() or 0) // processes.count
    least = min(processes.gather(free))
    return Machine(name, least or None, cpu=device.type != "cuda")


def with_measured_rate(machine: Machine, shape: ModelShape) -> Machine:
    """The same processor with the rate of a float32 product as it occurs in a model of that shape; about 0.1 s."""
    left = torch.randn(MEASURED_TOKENS, shape.width)
    right = torch.randn(shape.inner, shape.width).t()
    left @ right
    products, started = 0, time.process_time()
    while (spent := time.process_time() - started) < MEASURED_SECONDS:
        left @ right
        products += 1
    rate = 2.0 * products * MEASURED_TOKENS * shape.width * shape.inner / spent * torch.get_num_threads()
    return Machine(machine.name, machine.memory, cpu=True, rates=cpu_rates(rate), shards=machine.shards)


def free_main_memory(proc: Path = Path("/proc"), cgroup: Path = CGROUP) -> int | None:
    """Bytes that this process could still take, what it holds already included; None where the system does not say.

    The smaller of what the kernel calls available and what a control group leaves: a container's limit ends a process
    that the machine would have had room for.
    """
    available = _field(proc / "meminfo", "MemAvailable:")
    if available is None:
        return None
    mine = _resident(proc / "self" / "statm")
    room = available * 1024 + mine
    limit = _number(cgroup / "memory.max")
    used = _number(cgroup / "memory.current")
    if limit is None or used is None:
        return room
    reclaimable = _field(cgroup / "memory.stat", "inactive_file") or 0
    return min(room, limit - max(0, used - reclaimable - mine))


def _resident(file: Path) -> int:
    try:
        return int(file.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _field(file: Path, name: str) -> int | None:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.split()[:1] == [name]), None)


def _number(file: Path) -> int | None:
    """A number in a file of its own; `max` means that there is no limit."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
