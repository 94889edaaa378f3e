"""What a machine has, found without touching CUDA."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker import devices

LISTING = "GPU-a, NVIDIA H100 80GB HBM3, 81559\nGPU-b, NVIDIA H100 80GB HBM3, [N/A]\nsome warning\n"


def test_gpus_are_read_from_the_drivers_listing() -> None:
    first, second = devices.parse_gpus(LISTING)
    assert first == {"kind": "gpu", "uuid": "GPU-a", "name": "NVIDIA H100 80GB HBM3", "memory_mb": 81559}
    assert second["memory_mb"] is None


@pytest.mark.parametrize(
    ("visible", "left"),
    [(None, ["GPU-a", "GPU-b"]), ("1", ["GPU-b"]), ("GPU-a", ["GPU-a"]), ("", []), ("7", [])],
)
def test_only_visible_gpus_count(
    visible: str | None, left: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '{LISTING}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu["uuid"] for gpu in devices.gpus()] == left


def test_a_driver_that_does_not_answer_leaves_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nexit 9\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert [device["kind"] for device in devices.devices()] == ["cpu"]
