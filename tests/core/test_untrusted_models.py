"""A model folder from somebody else: pickled weights stay unopened, and the code that it brings stays unread."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from copg_core.errors import ModelError
from copg_core.policies import load_policy
from copg_core.sources import FolderModel, PresetModel, TaskData


class _Touches:
    """Unpickled, it creates a file: what any pickle could do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole model, as its publisher made it."""
    policy = load_policy(PresetModel(size="nano"), TaskData())
    policy.model.save_pretrained(tmp_path / "model")
    policy.tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_pickled_weights_are_refused_unopened(folder: Path, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    (folder / "model.safetensors").unlink()
    torch.save({"x": torch.zeros(1), "trap": _Touches(trap)}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled weights are not loaded"):
        load_policy(FolderModel(path=str(folder)), TaskData())
    assert not trap.exists()
    pickle.loads(pickle.dumps(_Touches(trap)))
    assert trap.exists()  # it would have sprung


def test_code_that_a_model_brings_is_not_run(folder: Path, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    (folder / "modeling_evil.py").write_text(f"import pathlib; pathlib.Path({str(trap)!r}).touch()\nclass Evil: pass\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "auto_map": {"AutoConfig": "modeling_evil.Evil", "AutoModelForCausalLM": "modeling_evil.Evil"},
        "model_type": "evil",
    }
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError):
        load_policy(FolderModel(path=str(folder)), TaskData())
    assert not trap.exists()
