"""What a run is given besides its configuration, and the versions that its numbers depend on."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from copg_core.datasets import on_disk
from copg_core.estimate import Machine
from copg_core.processes import Processes
from copg_core.sources import DataSource

PACKAGES = (
    "copg-studio",
    "torch",
    "transformers",
    "tokenizers",
    "accelerate",
    "peft",
    "safetensors",
    "numpy",
    "rouge-score",
)
Values = dict[str, str | int | float | bool | None]


@dataclass
class Surroundings:
    """What a run is given besides its configuration. `progress(stage, done, total)` may raise to stop the work."""

    processes: Processes
    resolve_run: Callable[[str], Path] = Path
    cache_folder: Path | None = None
    data_folder: Path | None = None
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None
    # What the device has: a run that does not fit is refused. None asks nothing.
    machine: Machine | None = None
    # A rehearsal computes rewards and reference for a few pairs only: enough to see that it can be done.
    rehearsal: bool = False

    def rows_of(self, source: DataSource) -> DataSource:
        """The data source with its uploaded files found in `data_folder`. Raises DataError."""
        return on_disk(source, self.data_folder, verify=True)

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return self.processes.device


def versions() -> Values:
    """Versions of Python and of every package that the numbers depend on."""
    found: Values = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found
