"""Checkpoints that are whole or not there at all, and hold everything that training needs to go on bit for bit.

    checkpoints/step-200/
        model.safetensors       the trained parameters, float32
        optimizer.safetensors   Adam's step, exp_avg and exp_avg_sq of each parameter
        state.safetensors       what batches need beyond the step number (batches.py); often empty, never absent
        manifest.json           step, configuration hash, size and hash of each file; written last

Data order and learning rate are pure functions of the step (schedule.py), dropout is off and evaluations draw from their
own generator, so there is no random state to keep. A checkpoint is written into a hidden folder, each file and the folder
are flushed to disk, and one rename makes it visible: a crash leaves the old one.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from copg_core.errors import CheckpointError, StorageError

MANIFEST = "manifest.json"
MODEL = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
STATE = "state.safetensors"
FILES = (MODEL, OPTIMIZER, STATE)


@dataclass(frozen=True)
class Saved:
    """A checkpoint on disk: where it is, the step after which it was written, how large it is."""

    path: Path
    step: int
    bytes: int


def save_checkpoint(
    folder: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    config_hash: str,
    state: dict[str, Tensor],
) -> Saved:
    """Write `folder/step-N`: the trainable parameters of `model`, the whole state of `optimizer`, and `state`.

    Raises StorageError where the disk is full or the folder may not be written; what stood there before still stands.
    """
    final = folder / f"step-{step}"
    with storage_errors(f"the checkpoint of step {step}"):
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".partial-{step}-{os.getpid()}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            save_file(_trainable(model), partial / MODEL)
            save_file(_optimizer_tensors(model, optimizer), partial / OPTIMIZER)
            save_file({name: item.detach().cpu().contiguous() for name, item in state.items()}, partial / STATE)
            files = {name: _describe(partial / name) for name in FILES}
            write_json(partial / MANIFEST, {"step": step, "config_hash": config_hash, "files": files})
            publish(partial, final)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return Saved(final, step, sum(item.stat().st_size for item in final.iterdir()))


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, config_hash: str
) -> tuple[int, dict[str, Tensor]]:
    """Put what `path` holds into `model` and `optimizer`; returns its step and the `state` it was saved with.

    Raises CheckpointError naming what is missing, damaged, or belongs to another configuration.
    """
    manifest = read_manifest(path)
    if manifest["config_hash"] != config_hash:
        raise CheckpointError(f"{path} was written by another configuration; start the run anew instead of resuming it")
    for name in FILES:
        if not (path / name).is_file():
            raise CheckpointError(f"{path} has no {name}; training cannot go on from it")
        if _describe(path / name) != manifest["files"].get(name):
            raise CheckpointError(f"{path / name} is damaged: its content is not what was written")
    try:
        weights, moments, state = (load_file(path / name) for name in FILES)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    parameters = {name: item for name, item in model.named_parameters() if item.requires_grad}
    _same_names(path / MODEL, set(weights), set(parameters))
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
    _restore_optimizer(path / OPTIMIZER, moments, parameters, optimizer)
    return int(manifest["step"]), state


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a whole checkpoint or output folder. Raises CheckpointError where there is none."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} has no {MANIFEST}: it was not written to the end") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path / MANIFEST} cannot be read: {error}") from error
    missing = {"step", "config_hash", "files"} - set(manifest)
    if missing:
        raise CheckpointError(f"{path / MANIFEST} lacks {', '.join(sorted(missing))}")
    return manifest  # type: ignore[no-any-return]


def latest_checkpoint(folder: Path) -> Path | None:
    """The whole checkpoint with the highest step, or None. What was cut off while it was written is not seen."""
    found = [item for item in folder.glob("step-*") if (item / MANIFEST).is_file()]
    return max(found, key=lambda item: int(item.name.removeprefix("step-")), default=None)


def prune_checkpoints(folder: Path, keep: int) -> list[Path]:
    """Delete all but the `keep` newest checkpoints; returns the deleted ones, oldest first."""
    found = sorted(folder.glob("step-*"), key=lambda item: int(item.name.removeprefix("step-")))
    removed = found[:-keep]
    for item in removed:
        (item / MANIFEST).unlink(missing_ok=True)  # half-deleted must not look whole
        shutil.rmtree(item, ignore_errors=True)
    return removed


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn the operating system's refusals to write `what` into a StorageError with a sentence."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = getattr(error, "errno", None)
        if number in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
            raise StorageError(f"The disk is full: {what} could not be written. Free some space and resume.") from error
        if number in (errno.EACCES, errno.EPERM, errno.EROFS) or "Permission denied" in str(error):
            place = getattr(error, "filename", None) or "its folder"
            raise StorageError(f"{what} could not be written: no permission for {place}.") from error
        raise StorageError(f"{what} could not be written: {error}") from error


def publish(partial: Path, final: Path) -> None:
    """Flush every file of `partial` to disk, then give it its name `final` in one step, replacing what had it."""
    for item in partial.rglob("*"):
        if item.is_file():
            _flush(item)
    _flush(partial)
    if final.exists():
        (final / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(final)
    partial.rename(final)
    _flush(final.parent)


def write_json(path: Path, content: object) -> None:
    """Write indented JSON with sorted keys."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _trainable(model: nn.Module) -> dict[str, Tensor]:
    # named_parameters names a tied weight once, which safetensors demands.
    return {name: item.detach().cpu().contiguous() for name, item in model.named_parameters() if item.requires_grad}


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{name}:{key}"] = torch.as_tensor(value).detach().cpu().contiguous()
    return tensors


def _restore_optimizer(
    path: Path, tensors: dict[str, Tensor], parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> None:
    _same_names(path, {key.rpartition(":")[0] for key in tensors}, set(parameters))
    for key, value in tensors.items():
        name, _, slot = key.rpartition(":")
        parameter = parameters[name]
        device = value.device if slot == "step" and not _on_device(optimizer) else parameter.device
        optimizer.state[parameter][slot] = value.to(device)


def _on_device(optimizer: torch.optim.Optimizer) -> bool:
    """Fused and capturable Adam keep their step counter beside the parameter, plain Adam keeps it on the CPU."""
    return bool(optimizer.defaults.get("fused") or optimizer.defaults.get("capturable"))


def _same_names(path: Path, found: set[str], expected: set[str]) -> None:
    if missing := sorted(expected - found):
        raise CheckpointError(f"{path} lacks {len(missing)} of {len(expected)} parameters, among them {missing[0]}")
    if extra := sorted(found - expected):
        raise CheckpointError(f"{path} holds parameters that the model has not, among them {extra[0]}")


def _describe(path: Path) -> dict[str, object]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
