"""What this machine has: cores, memory, GPUs. CUDA is not touched: a worker must not hold a GPU context.

GPUs are read through NVML, which the driver brings along. Without the driver or the package the machine is a CPU node.
"""

from __future__ import annotations

import importlib
import logging
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

from backend.nodes import GpuReading

_log = logging.getLogger(__name__)


def devices(gpus: Sequence[GpuReading]) -> list[dict[str, Any]]:
    """One entry for the processor, one for each GPU: `kind`, `name`, `memory_mb`, and `uuid` of a GPU."""
    mebibytes = [None if gpu.memory_total is None else gpu.memory_total // 2**20 for gpu in gpus]
    listed = [
        {"kind": "gpu", "uuid": gpu.uuid, "name": gpu.name, "memory_mb": memory}
        for gpu, memory in zip(gpus, mebibytes, strict=True)
    ]
    return [_processor(), *listed]


def _processor() -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    except (ValueError, OSError):
        memory = None
    return {"kind": "cpu", "name": f"{cores} cores", "cores": cores, "memory_mb": memory}


def first_gpus(pauses: Sequence[float] = (0.0, 0.5, 1.0, 2.0, 4.0, 4.0)) -> list[GpuReading]:
    """As `read_gpus`, for a worker that starts: a driver that starts too is waited for, since what a worker is begins here."""
    for pause in pauses:
        time.sleep(pause)
        if (found := read_gpus()) is not None:
            return found
    _log.error("the GPU driver does not answer: this worker trains on the processor until it is started again")
    return []


def read_gpus() -> list[GpuReading] | None:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves, MIG slices in place of a GPU that is cut into some; may be empty.

    None where there is a driver that does not answer: what there is, is not known.
    """
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError as error:
        _log.debug("no GPU: %s", error)
        return []
    try:
        nvml.nvmlInit()
    except (nvml.NVMLError, OSError) as error:
        absent = getattr(error, "value", None) == nvml.NVML_ERROR_LIBRARY_NOT_FOUND
        (_log.debug if absent else _log.warning)("no GPU can be used: %s", error)
        return [] if absent else None
    try:
        found = [list(_readings(nvml, number)) for number in range(nvml.nvmlDeviceGetCount())]
    except nvml.NVMLError as error:
        _log.warning("the driver does not tell which GPUs there are: %s", error)
        return None
    finally:
        nvml.nvmlShutdown()
    if found and not any(found):  # there are some, and none has answered
        return None
    chosen = _visible(found, os.environ.get("CUDA_VISIBLE_DEVICES"))
    return [GpuReading(**{**vars(gpu), "index": index}) for index, gpu in enumerate(chosen)]


def _readings(nvml: Any, number: int) -> Iterator[GpuReading]:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(number)
        slices = list(_slices(nvml, handle))
        for one in slices or [handle]:
            yield _reading(nvml, one, number, None if slices else handle)
    except nvml.NVMLError as error:  # one that fell off the bus; the others go on
        _log.warning("GPU %d does not answer: %s", number, error)


def _slices(nvml: Any, handle: Any) -> Iterator[Any]:
    try:
        current, _ = nvml.nvmlDeviceGetMigMode(handle)
        count = nvml.nvmlDeviceGetMaxMigDeviceCount(handle) if current else 0
    except nvml.NVMLError:  # a GPU that cannot be cut
        return
    for number in range(count):
        try:
            yield nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
        except nvml.NVMLError:  # an unused place
            continue


def _reading(nvml: Any, handle: Any, number: int, whole: Any) -> GpuReading:
    def ask(question: Any) -> Any:
        try:
            return question()
        except nvml.NVMLError:
            return None

    memory = ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    usage = ask(lambda: nvml.nvmlDeviceGetUtilizationRates(whole)) if whole is not None else None  # not told of a slice
    return GpuReading(
        index=number,
        uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
        name=_text(ask(lambda: nvml.nvmlDeviceGetName(handle)) or "GPU"),
        memory_total=None if memory is None else int(memory.total),
        memory_used=None if memory is None else int(memory.used),
        utilisation=None if usage is None else int(usage.gpu),
    )


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _visible(found: Sequence[Sequence[GpuReading]], variable: str | None) -> list[GpuReading]:
    """What the variable names, by number, UUID or the beginning of one; as CUDA does, up to the first that is none."""
    everything = [gpu for group in found for gpu in group]
    if variable is None:
        return everything
    chosen: list[GpuReading] = []
    for name in (part.strip() for part in variable.split(",")):
        if name.isdigit():
            named = list(found[int(name)]) if int(name) < len(found) else []
        else:
            named = [gpu for gpu in everything if name and gpu.uuid.startswith(name)]
        if not named:
            break
        chosen += [gpu for gpu in named if gpu not in chosen]
    return chosen
