"""The configurations of a torture: few, so that many disturbed runs are held against one that was left alone.

Real runs of the smallest model: forty steps, an evaluation every ten, a checkpoint every five.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from copg_core.config import RUN_CONFIG, RunConfig

STEPS = 40
_COMMON: dict[str, Any] = {
    "data": {"kind": "task", "task": "miniature", "train_size": 64, "validation_size": 8},
    "batch_size": 4,
    "steps": STEPS,
    "max_prompt_tokens": 64,
    "max_completion_tokens": 16,
    "evaluation": {"every": 10, "prompts": 4, "generation": {"max_new_tokens": 4}},
    "checkpoints": {"every": 5},
}
_NANO = {"kind": "preset", "size": "nano"}
_SFT: dict[str, Any] = {"algorithm": "sft", "policy": _NANO, "optimizer": {"learning_rate": 0.003}}
_COPG: dict[str, Any] = {"algorithm": "copg", "beta": 0.5, "optimizer": {"learning_rate": 0.0003}}

ROOTS: dict[str, dict[str, Any]] = {
    "sft 0": {**_COMMON, **_SFT},
    "sft 1": {**_COMMON, **_SFT, "seed": 1},
    "copg": {**_COMMON, **_COPG, "policy": _NANO},
    "dpo": {**_COMMON, "algorithm": "dpo", "policy": _NANO, "optimizer": {"learning_rate": 0.0003}},
}
CHILDREN = {"copg of sft 0": "sft 0", "copg of sft 1": "sft 1"}
"""Runs that start from another one's output, and the recipe of that parent."""
POISONED = "poisoned"
_BROKEN_ROW = 20_010  # behind the rows that are looked at before a run is queued


def config(recipe: str, parent: str = "", poison: Path | None = None) -> RunConfig:
    """The configuration of a recipe; `parent` is the id or folder of the run that it starts from."""
    if recipe == POISONED:
        data = {"kind": "file", "path": str(poison)}
        return RUN_CONFIG.validate_python({**_COMMON, **_SFT, "data": data})
    if recipe in CHILDREN:
        return RUN_CONFIG.validate_python({**_COMMON, **_COPG, "policy": {"kind": "run", "run": parent}})
    return RUN_CONFIG.validate_python(ROOTS[recipe])


def write_poison(path: Path) -> Path:
    """Training rows that are in order when the run is queued and broken far behind: a data error while it trains."""
    good = '{"prompt": "a", "completion": "b"}\n'
    path.write_text(good * _BROKEN_ROW + '{"prompt": "a", "comp', encoding="utf-8")
    return path
