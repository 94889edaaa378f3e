"""A stand-in for NVML that reports as many GPUs as FAKE_GPUS says; nothing computes on them."""

from __future__ import annotations

import os
from types import SimpleNamespace


class NVMLError(Exception):
    pass


def nvmlInit() -> None:  # noqa: N802 - NVML's own names
    pass


def nvmlShutdown() -> None:  # noqa: N802
    pass


def nvmlDeviceGetCount() -> int:  # noqa: N802
    return int(os.environ.get("FAKE_GPUS", "0"))


def nvmlDeviceGetHandleByIndex(index: int) -> int:  # noqa: N802
    return index


def nvmlDeviceGetMigMode(handle: int) -> tuple[int, int]:  # noqa: N802
    return (0, 0)


def nvmlDeviceGetUUID(handle: int) -> str:  # noqa: N802
    return f"GPU-fake-{handle}"


def nvmlDeviceGetName(handle: int) -> str:  # noqa: N802
    return "Stand-in"


def nvmlDeviceGetMemoryInfo(handle: int) -> SimpleNamespace:  # noqa: N802
    return SimpleNamespace(total=2**34, used=2**30)


def nvmlDeviceGetUtilizationRates(handle: int) -> SimpleNamespace:  # noqa: N802
    return SimpleNamespace(gpu=50)
