"""What a machine has, by a stand-in for NVML, and without one."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from worker import devices


class FakeNVML:
    """Four GPUs: a plain one, one cut into two slices, one that fell off the bus, one of an old kind."""

    NVML_ERROR_LIBRARY_NOT_FOUND = 12

    class NVMLError(Exception):
        value = 0

    def __init__(self, *, fails: int = 0, value: int = 9) -> None:
        self.fails, self.value, self.open = fails, value, 0

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's own names
        if self.fails:
            self.fails -= 1
            error = self.NVMLError("Driver Not Loaded")
            error.value = self.value
            raise error
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 4

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        if index == 2:
            raise self.NVMLError("GPU is lost")
        return ["GPU-plain", "GPU-cut", "", "GPU-old"][index]

    def nvmlDeviceGetMigMode(self, handle: str) -> tuple[int, int]:  # noqa: N802
        if handle == "GPU-old":
            raise self.NVMLError("Not Supported")
        return (1, 1) if handle == "GPU-cut" else (0, 0)

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: str) -> int:  # noqa: N802
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: str, index: int) -> str:  # noqa: N802
        if index not in (0, 3):
            raise self.NVMLError("Not Found")
        return f"MIG-{index}"

    def nvmlDeviceGetUUID(self, handle: str) -> str:  # noqa: N802
        return handle

    def nvmlDeviceGetName(self, handle: str) -> bytes:  # noqa: N802
        return b"H100"

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> SimpleNamespace:  # noqa: N802
        if handle == "GPU-old":
            raise self.NVMLError("Not Supported")
        return SimpleNamespace(total=80 * 2**30, used=2**30)

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(gpu=42)


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNVML:
    fake = FakeNVML()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return fake


def test_gpus_and_slices_are_read_and_one_that_is_lost_costs_only_itself(nvml: FakeNVML) -> None:
    found = devices.first_gpus()
    assert [gpu.uuid for gpu in found] == ["GPU-plain", "MIG-0", "MIG-3", "GPU-old"]
    assert [gpu.index for gpu in found] == [0, 1, 2, 3]
    plain, slice_, _, old = found
    assert (plain.name, plain.memory_total, plain.memory_used, plain.utilisation) == ("H100", 80 * 2**30, 2**30, 42)
    assert (slice_.memory_total, slice_.utilisation) == (80 * 2**30, None)
    assert (old.memory_total, old.utilisation) == (None, 42)
    assert nvml.open == 0
    assert [device["kind"] for device in devices.devices(found)] == ["cpu", "gpu", "gpu", "gpu", "gpu"]
    assert devices.devices(found)[1]["memory_mb"] == 80 * 1024


@pytest.mark.parametrize(
    ("visible", "left"),
    [
        ("0", ["GPU-plain"]),
        ("1", ["MIG-0", "MIG-3"]),
        ("MIG-3,GPU-plain", ["MIG-3", "GPU-plain"]),
        ("GPU-pl", ["GPU-plain"]),
        ("3,9,0", ["GPU-old"]),  # CUDA too stops at what it does not know
        ("0,0", ["GPU-plain"]),
        ("", []),
        ("-1", []),
    ],
)
@pytest.mark.usefixtures("nvml")
def test_only_what_is_visible_to_cuda_counts(visible: str, left: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.uuid for gpu in devices.first_gpus()] == left


def test_without_library_or_package_the_machine_has_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (FakeNVML(fails=99, value=FakeNVML.NVML_ERROR_LIBRARY_NOT_FOUND), None):
        monkeypatch.setitem(sys.modules, "pynvml", module)
        assert devices.read_gpus() == []
    assert [device["kind"] for device in devices.devices([])] == ["cpu"]


@pytest.mark.parametrize(("fails", "gpus"), [(2, 4), (99, 0)])
def test_a_driver_that_is_not_ready_is_waited_for(fails: int, gpus: int, nvml: FakeNVML) -> None:
    nvml.fails = 1
    assert devices.read_gpus() is None
    nvml.fails = fails
    assert len(devices.first_gpus(pauses=(0.0, 0.01, 0.01))) == gpus


def test_gpus_none_of_which_answers_are_waited_for(nvml: FakeNVML, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(index: int) -> str:
        raise nvml.NVMLError("GPU is lost")

    monkeypatch.setattr(nvml, "nvmlDeviceGetHandleByIndex", lost)
    assert devices.read_gpus() is None
