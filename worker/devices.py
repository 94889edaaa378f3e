"""What this machine has: cores, memory, GPUs. Neither torch nor CUDA is touched: a worker must not hold a GPU context."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Any

_QUERY = ["--query-gpu=uuid,name,memory.total", "--format=csv,noheader,nounits"]


def devices() -> list[dict[str, Any]]:
    """One entry for the processor, one for each visible GPU: `kind`, `name`, `memory_mb`, and `uuid` of a GPU."""
    return [_processor(), *gpus()]


def _processor() -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    except (ValueError, OSError):
        memory = None
    return {"kind": "cpu", "name": f"{cores} cores", "cores": cores, "memory_mb": memory}


def gpus() -> list[dict[str, Any]]:
    """NVIDIA GPUs that `nvidia-smi` lists and CUDA_VISIBLE_DEVICES leaves; empty where there are none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        listing = subprocess.run([program, *_QUERY], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []  # the driver is not loaded, or hangs: the machine still has its cores
    return _visible(parse_gpus(listing), os.environ.get("CUDA_VISIBLE_DEVICES"))


def parse_gpus(listing: str) -> list[dict[str, Any]]:
    """Read the lines `uuid, name, memory in MiB`; a line of another form is passed over."""
    rows = [[part.strip() for part in line.split(",")] for line in listing.splitlines()]
    return [
        {"kind": "gpu", "uuid": row[0], "name": row[1], "memory_mb": int(row[2]) if row[2].isdigit() else None}
        for row in rows
        if len(row) == 3
    ]


def _visible(found: list[dict[str, Any]], variable: str | None) -> list[dict[str, Any]]:
    if variable is None:
        return found
    wanted = [part.strip() for part in variable.split(",") if part.strip()]
    by_name = {str(index): gpu for index, gpu in enumerate(found)} | {gpu["uuid"]: gpu for gpu in found}
    return [by_name[name] for name in wanted if name in by_name]
