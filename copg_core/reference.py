"""Reference log-probabilities and rewards of all training pairs: computed once, kept on disk by content hash.

Every run of a sweep over beta, learning rate or algorithm needs the same numbers. The key holds all that they depend
on: the weights, the token ids (hence data, template, tokenizer and truncation), code path, precision and device.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from copg_core.checkpoints import storage_errors
from copg_core.errors import ModelError
from copg_core.layout import TokenRow, lay_out, micro_batches

Table = np.ndarray[Any, np.dtype[np.float64]]


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
    folder: Path | None, name: str, key: str, shape: tuple[int, ...], compute: Callable[[], Table]
) -> tuple[Table, bool]:
    """The table stored under a key, computed and stored where it is not there yet; and whether it was there.

    Written to a file of its own and renamed: two runs that start together both compute, and neither reads half a file.
    """
    path = folder / f"{name}-{key[:32]}.npy" if folder is not None else None
    if path is not None and path.is_file():
        try:
            table = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            table = np.empty(0)
        if table.shape == shape and np.isfinite(table).all():
            return table, True
    table = compute()
    if path is not None:
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
    return table, False


@torch.no_grad()
def log_probs_of(
    module: nn.Module,
    rows: Sequence[TokenRow],
    *,
    packed: bool,
    pad: int,
    token_budget: int,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
) -> Table:
    """What `module` (log-probabilities or a reward model) gives for all rows, (rows, completions).

    Raises ModelError where the result is not finite.
    """
    lengths = [row.tokens(packed=packed) for row in rows]
    table = np.zeros((len(rows), len(rows[0].completions) if rows else 0))
    done = 0
    for group in micro_batches(lengths, range(len(rows)), token_budget):
        laid_out = lay_out([rows[i] for i in group], packed=packed, pad=pad).to(device)
        table[group] = module(laid_out).double().cpu().numpy()
        done += len(group)
        if progress:
            progress(done, len(rows))
    if not np.isfinite(table).all():
        raise ModelError("the model gives log-probabilities or rewards that are not finite numbers: are its weights?")
    return table
