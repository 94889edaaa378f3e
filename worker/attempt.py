"""The files of one attempt, and the process tree that works on it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from backend.claims import Claim
from backend.settings import Settings
from copg_core.places import HUB_ID
from copg_core.reward_sources import EntailmentReward
from copg_core.sources import FolderModel, HubData, HubModel, PresetModel, expanded
from worker import guard, orphans

ADAPTERS = "adapter_config.json"
"""What a folder of adapters has, as peft writes it."""
QUICK_SECONDS = 3.0
"""How long a cancelled run may take to stop by itself. With the time to notice, it stays under five seconds."""

_KEPT = (
    "COPG_LOG_FORMAT",
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "TMPDIR",
    "TZ",
    "VIRTUAL_ENV",
    "PYTHONPATH",
    "LD_LIBRARY_PATH",
)
_KEPT_PREFIXES = (
    "LC_", "CUDA_", "NVIDIA_", "NCCL_", "OMP_", "MKL_", "OPENBLAS_", "TORCH", "PYTORCH_", "TRANSFORMERS_", "HF_",
    "HUGGINGFACE_", "TOKENIZERS_", "ACCELERATE_", "XDG_", "SSL_CERT_", "REQUESTS_CA_",
    "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
)  # fmt: skip
_SECRET = ("_TOKEN", "_TOKEN_PATH", "_SECRET", "_PASSWORD", "_KEY")


class AttemptFiles:
    """Where an attempt writes: `<data>/runs/<uid>/attempt-<fence>/`; the log is shared by all attempts of the run."""

    def __init__(self, settings: Settings, uid: str, fence: int) -> None:
        self.run = settings.runs_path / uid
        self.fence = fence
        self.folder = self.run / f"attempt-{fence}"
        self.spool = self.folder / "spool.jsonl"
        self.job = self.folder / "job.json"
        self.log = self.run / "log.txt"


def training_environment(claim: Claim, gpu: str | None, environment: Mapping[str, str]) -> dict[str, str]:
    """What the training process may see: no address or password of the database or the broker.

    The hub's token travels only where the run reads from the hub.
    """
    kept = {name: value for name, value in environment.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}
    if not reads_hub(claim.config):
        kept = {name: value for name, value in kept.items() if not name.endswith(_SECRET)}
    if gpu is not None:
        kept["CUDA_VISIBLE_DEVICES"] = gpu
    return kept | orphans.marks(claim.uid, claim.fence) | {"PYTHONUNBUFFERED": "1"}


def reads_hub(config: BaseModel) -> bool:
    """Whether a configuration names anything that is, or may be, on the hub."""
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, BaseModel) and reads_hub(value):
            return True
        if isinstance(value, list | tuple) and any(isinstance(one, BaseModel) and reads_hub(one) for one in value):
            return True
    match config:
        case HubModel() | HubData():
            return True
        case PresetModel(tokenizer=str(place)) | EntailmentReward(model=str(place)):
            return re.fullmatch(HUB_ID, place) is not None and not expanded(place).exists()
        case FolderModel(path=place):
            return (expanded(place) / ADAPTERS).is_file()  # whose base may be on the hub
    return False


@dataclass(frozen=True)
class Inputs:
    """What an attempt needs from elsewhere, as it stands on this machine, by the ids of runs: where their outputs are, and what is wrong
    with those that cannot be used. `data_folder` has the uploaded files, by the hash of their content."""

    checkpoint: Path | None = None
    parents: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    data_folder: Path | None = None


def write_job(files: AttemptFiles, settings: Settings, claim: Claim, inputs: Inputs, train: str) -> None:
    """The job file that worker/child.py reads; every path in it is on this machine. Raises OSError where the folder cannot be written."""
    files.folder.mkdir(parents=True, exist_ok=True)
    job = {
        "config": claim.config.model_dump(mode="json"),
        "folder": str(files.folder),
        "resume_from": str(inputs.checkpoint) if inputs.checkpoint else None,
        "parents": inputs.parents,
        "damaged": inputs.damaged,
        "cache_folder": str(settings.cache_path),
        "data_folder": str(inputs.data_folder or settings.datasets_path),
        "spool": str(files.spool),
        "train": train,
    }
    files.job.write_text(json.dumps(job, indent=1), encoding="utf-8")


def _program(claim: Claim, settings: Settings) -> list[str]:
    several = len(claim.gpus)
    return ["worker.ranks", str(several), str(settings.grace_seconds)] if several > 1 else ["worker.child"]


class ProcessTree:
    """A guard and the training process under it. Leaving the `with` block leaves nothing of it behind."""

    def __init__(self, files: AttemptFiles, settings: Settings, claim: Claim, gpu: str | None) -> None:
        self._claim = claim
        freeze = settings.lease_seconds * 0.75  # dead before anybody else can be given the run
        command = [
            sys.executable, "-I", "-S", guard.__file__, str(freeze), str(settings.grace_seconds), str(QUICK_SECONDS),
            "--", sys.executable, "-m", *_program(claim, settings), str(files.job),
        ]  # fmt: skip
        with files.log.open("ab") as log:
            self._guard = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                env=training_environment(claim, gpu, os.environ),
            )  # fmt: skip
        self._over = threading.Event()
        # A thread of its own: waiting for a slow database is no freeze. A frozen process freezes all its threads.
        self._pulse = threading.Thread(target=self._beat, args=(freeze / 5,), name="pulse", daemon=True)
        self._pulse.start()

    def _beat(self, period: float) -> None:
        while not self._over.wait(period):
            self._tell(b".")

    def _tell(self, byte: bytes) -> None:
        with contextlib.suppress(OSError, ValueError):
            assert self._guard.stdin is not None
            os.write(self._guard.stdin.fileno(), byte)

    def poll(self) -> int | None:
        """Exit code (see guard.py and child.py), or None while it works. Negative: the guard itself was killed."""
        return self._guard.poll()

    def stop(self, *, quick: bool) -> None:
        """Ask for a checkpoint and an end: within QUICK_SECONDS, or within the settings' `grace_seconds`."""
        self._tell(b"Q" if quick else b"T")

    def __enter__(self) -> ProcessTree:
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._pulse.join()
        with contextlib.suppress(OSError):
            assert self._guard.stdin is not None
            self._guard.stdin.close()  # end of file: the guard kills what is left
        try:
            self._guard.wait(10)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()
        if self._guard.returncode < 0:
            orphans.sweep_attempt(self._claim.uid, self._claim.fence)
