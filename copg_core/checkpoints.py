"""Checkpoints that are whole or not there at all, and hold everything that training needs to go on bit for bit.

    checkpoints/step-200/
        model.safetensors       the trained parameters, float32 masters
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

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from copg_core.errors import CheckpointError, StorageError
from copg_core.recipe import Checkpoints
from copg_core.retention import kept

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


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds, in main memory; whoever takes it back refuses it by `path` where a name is missing."""

    path: Path
    step: int
    weights: dict[str, Tensor]
    moments: dict[str, Tensor]
    state: dict[str, Tensor]


def save_checkpoint(
    folder: Path,
    step: int,
    weights: dict[str, Tensor],
    moments: dict[str, Tensor],
    state: dict[str, Tensor],
    config_hash: str,
    reward: float | None = None,
) -> Saved:
    """Write `folder/step-N`: trained parameters by name, Adam's moments by `name:slot`, and `state`. `reward` is that of
    the evaluation at this step, for retention.

    Raises StorageError where the disk is full or the folder may not be written; what stood there before still stands.
    """
    final = folder / f"step-{step}"
    with storage_errors(f"the checkpoint of step {step}"):
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".partial-{step}-{os.getpid()}"
        for left in folder.glob(
            ".partial-*"
        ):  # of a process that was killed while it wrote: the folder is one run's own
            shutil.rmtree(left, ignore_errors=True)
        partial.mkdir()
        try:
            for name, tensors in zip(FILES, (weights, moments, state), strict=True):
                save_file({key: item.detach().cpu().contiguous() for key, item in tensors.items()}, partial / name)
            files = {name: _describe(partial / name) for name in FILES}
            write_json(partial / MANIFEST, {"step": step, "config_hash": config_hash, "files": files, "reward": reward})
            publish(partial, final)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return Saved(final, step, sum(item.stat().st_size for item in final.iterdir()))


def load_checkpoint(path: Path, config_hash: str) -> Checkpoint:
    """What `path` holds. Raises CheckpointError naming what is missing, damaged, or belongs to another configuration."""
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
    return Checkpoint(path, int(manifest["step"]), weights, moments, state)


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


def checkpoints_in(folder: Path) -> dict[int, Path]:
    """Whole checkpoints by their step, in its order. What was cut off while it was written is not seen."""
    found = [item for item in folder.glob("step-*") if (item / MANIFEST).is_file()]
    return dict(sorted((int(item.name.removeprefix("step-")), item) for item in found))


def latest_checkpoint(folder: Path) -> Path | None:
    """The whole checkpoint with the highest step, or None."""
    return next(reversed(checkpoints_in(folder).values()), None)


def prune_checkpoints(folder: Path, plan: Checkpoints, spare: Path | None = None) -> list[Path]:
    """Delete what `plan` does not keep, but for the one to `spare`; returns the deleted ones, oldest first."""
    found = sorted(folder.glob("step-*"), key=lambda item: int(item.name.removeprefix("step-")))
    rewards = {int(item.name.removeprefix("step-")): _reward(item) for item in found}
    chosen = kept(rewards, plan)
    return remove_checkpoints(
        [item for item in found if int(item.name.removeprefix("step-")) not in chosen and item != spare]
    )


def _reward(checkpoint: Path) -> float | None:
    try:
        reward = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8")).get("reward")
    except (OSError, ValueError):
        return None
    return float(reward) if isinstance(reward, int | float) else None


def remove_checkpoints(removed: list[Path]) -> list[Path]:
    """Delete checkpoints; returns them."""
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
