"""Reference log-probabilities and rewards of all training pairs: computed once, kept on disk by content hash.

Every run of a sweep over beta, learning rate or algorithm needs the same numbers. The key holds all that they depend
on: the weights, the token ids (hence data, template, tokenizer and truncation), code path, precision and device.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import nn

from copg_core.budget import TokenBudget, TooLarge, is_out_of_memory
from copg_core.checkpoints import storage_errors
from copg_core.errors import ModelError
from copg_core.layout import TokenRow, lay_out, micro_batches
from copg_core.processes import Processes
from copg_core.sharding import is_sharded

Table = np.ndarray[Any, np.dtype[np.float64]]
SECONDS_BETWEEN_LOOKS = 0.25


def content_key(**parts: Any) -> str:
    """Hash of everything that some numbers depend on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def rows_hash(rows: Sequence[TokenRow]) -> str:
    """Hash of the token ids of all rows, in order."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(repr((row.prompt, row.completions)).encode())
    return digest.hexdigest()


def cached(
    folder: Path | None,
    name: str,
    key: str,
    shape: tuple[int, ...],
    compute: Callable[[], Table],
    processes: Processes | None = None,
    waiting: Callable[[], None] = lambda: None,
) -> tuple[Table, bool]:
    """The table stored under a key, computed and stored where it is not there yet; and whether it was there.

    Of runs that start together one computes and the others wait for it, calling `waiting` meanwhile; what it raises ends
    the wait. The lock is the operating system's: one whose holder was killed is free. Written to a file of its own and
    renamed, so that nobody reads half a file. The processes of one run all compute, or none of them does.
    """
    path = folder / f"{name}-{key[:32]}.npy" if folder is not None else None
    lock = None if path is None else FileLock(path.with_suffix(".lock"), fallback_to_soft=False, thread_local=False)

    def stored_or_locked() -> Table | None:
        while (table := _read(path, shape)) is None and lock is not None and not _locked(lock):
            waiting()
            time.sleep(SECONDS_BETWEEN_LOOKS)
        # Whoever held the lock before us may have stored it since we looked.
        return _read(path, shape) if table is None else table

    try:
        stored = processes.from_main(stored_or_locked) if processes else stored_or_locked()
        if stored is not None:
            return stored, True
        table = compute()
        if path is not None and (processes is None or processes.is_main):
            _write(path, table)
        return table, False
    finally:
        if lock is not None:
            lock.release()


def _locked(lock: FileLock) -> bool:
    """Whether this process may compute now. A file system without locks lets everybody compute."""
    try:
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout:
        return False
    except (OSError, NotImplementedError):
        return True  # what cannot be locked may still be written, or fails there with a sentence
    return True


def _write(path: Path, table: Table) -> None:
    with storage_errors(f"the cache file {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                np.save(file, table)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).rename(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _read(path: Path | None, shape: tuple[int, ...]) -> Table | None:
    if path is None or not path.is_file():
        return None
    try:
        table: Table = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return table if table.shape == shape and np.isfinite(table).all() else None


@torch.no_grad()
def log_probs_of(
    module: nn.Module,
    rows: Sequence[TokenRow],
    *,
    packed: bool,
    pad: int,
    token_budget: int | TokenBudget,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
    processes: Processes | None = None,
) -> Table:
    """What `module` (log-probabilities or a reward model) gives for all rows, (rows, completions).

    Several processes divide the micro-batches of one process among them, and all get the whole table: the numbers are
    the same to the last bit. A micro-batch for which memory is too small is halved. Raises ModelError where the result
    is not finite, and MemoryLimitError as `generate` does.
    """
    budget = token_budget if isinstance(token_budget, TokenBudget) else TokenBudget(token_budget)
    processes = processes or Processes(device)
    # The budget may have shrunk in one process alone, and all must cut the rows in the same way.
    budget.tokens = min(processes.gather(budget.tokens))
    lengths = [row.tokens(packed=packed) for row in rows]
    table = np.zeros((len(rows), len(rows[0].completions) if rows else 0))
    groups = micro_batches(lengths, range(len(rows)), budget.tokens)
    waiting = processes.share(groups)
    # Layers that are sharded wait for everyone: who has nothing left computes something again.
    waiting += groups[:1] * (-(-len(groups) // processes.count) - len(waiting))

    def compute_all() -> list[tuple[list[int], Table]]:
        left, found, done = waiting, list[tuple[list[int], Table]](), 0
        while left:
            group = left.pop(0)
            failed = False
            try:
                laid_out = lay_out([rows[i] for i in group], packed=packed, pad=pad).to(device)
                found.append((group, module(laid_out).double().cpu().numpy()))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                failed = True
            if failed:
                budget.shrink("scoring", [TooLarge(len(group), len(group) * max(lengths[i] for i in group))])
                left = [part for one in (group, *left) for part in micro_batches(lengths, one, budget.tokens)]
                continue
            done += len(group)
            if progress:
                progress(min(done * processes.count, len(rows)), len(rows))
        return found

    # Whoever fails tells the others, which wait here; in the middle of a sharded layer they could not listen.
    sharded = any(map(is_sharded, module.parameters()))
    for part in processes.gather(compute_all()) if sharded else processes.gather_computed(compute_all):
        for group, values in part:
            table[group] = values
    if not np.isfinite(table).all():
        raise ModelError("the model gives log-probabilities or rewards that are not finite numbers: are its weights?")
    return table
