"""Checkpoints are whole or not there, and everything that is not whole is refused by name."""

from __future__ import annotations

import errno
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from copg_core import checkpoints
from copg_core.checkpoints import latest_checkpoint, load_checkpoint, prune_checkpoints, save_checkpoint
from copg_core.config import SFTConfig
from copg_core.errors import CheckpointError, StorageError
from copg_core.precision import MasterWeights
from copg_core.recipe import Checkpoints, Optimizer
from copg_core.schedule import batch_rows, learning_rate, total_steps


def trained(steps: int = 3) -> tuple[nn.Module, MasterWeights]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    weights = MasterWeights(model, {}, Optimizer(learning_rate=0.1))
    advance(model, weights, steps)
    return model, weights


def advance(model: nn.Module, weights: MasterWeights, steps: int) -> None:
    for _ in range(steps):
        model(torch.ones(2, 3)).sum().backward()
        weights.update(torch.ones(()))


def save(folder: Path, step: int, weights: MasterWeights, **state: torch.Tensor) -> Path:
    return save_checkpoint(folder, step, *weights.tensors(), state, "hash").path


def test_what_comes_back_goes_on_bit_for_bit(tmp_path: Path) -> None:
    model, weights = trained()
    path = save(tmp_path, 3, weights, draws=torch.arange(3))
    advance(model, weights, 2)
    other, other_weights = trained(0)
    saved = load_checkpoint(path, "hash")
    other_weights.load(saved.weights, saved.moments, source=path)
    assert saved.step == 3
    assert saved.state.keys() == {"draws"}
    assert torch.equal(saved.state["draws"], torch.arange(3))
    advance(other, other_weights, 2)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.safetensors", "manifest.json"])
def test_a_checkpoint_that_lacks_a_file_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    path = save(tmp_path, 3, trained()[1])
    (path / name).unlink()
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        load_checkpoint(path, "hash")


def test_a_state_that_lacks_a_parameter_is_refused_by_its_name(tmp_path: Path) -> None:
    _, weights = trained()
    whole, moments = weights.tensors()
    partial = {key: value for key, value in moments.items() if not key.startswith("1.bias")}
    with pytest.raises(CheckpointError, match=r"1\.bias"):
        weights.load(whole, partial, source=tmp_path)
    with pytest.raises(CheckpointError, match=r"lacks 1 of 4 parameters, among them 0\.weight"):
        weights.load({key: value for key, value in whole.items() if key != "0.weight"}, moments, source=tmp_path)
    with pytest.raises(CheckpointError, match=r"2\.weight"):
        weights.load(whole | {"2.weight": torch.ones(1)}, moments, source=tmp_path)


def test_damage_and_another_configuration_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path, 3, trained()[1])
    with pytest.raises(CheckpointError, match="another configuration"):
        load_checkpoint(path, "other")
    file = path / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path, "hash")
    (path / "manifest.json").write_text(json.dumps({"step": 3}))
    with pytest.raises(CheckpointError, match="lacks config_hash"):
        load_checkpoint(path, "hash")


def test_the_newest_whole_one_is_found_and_only_a_few_are_kept(tmp_path: Path) -> None:
    _, weights = trained()
    for step in (9, 10, 11):
        save(tmp_path, step, weights)
    (tmp_path / ".partial-12-1").mkdir()
    (tmp_path / "step-12").mkdir()
    assert latest_checkpoint(tmp_path) == tmp_path / "step-11"
    (tmp_path / "step-12").rmdir()
    assert [path.name for path in prune_checkpoints(tmp_path, Checkpoints(keep=1))] == ["step-9", "step-10"]
    assert latest_checkpoint(tmp_path) == tmp_path / "step-11"
    assert latest_checkpoint(tmp_path / "nothing") is None


@pytest.mark.parametrize(("code", "sentence"), [(errno.ENOSPC, "disk is full"), (errno.EACCES, "permission")])
def test_a_disk_that_refuses_leaves_the_old_checkpoint(
    code: int, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, weights = trained()
    save(tmp_path, 1, weights)

    def refuse(*arguments: Any) -> None:
        raise OSError(code, "refused")

    monkeypatch.setattr(checkpoints, "publish", refuse)
    with pytest.raises(StorageError, match=sentence):
        save(tmp_path, 2, weights)
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]
    assert load_checkpoint(tmp_path / "step-1", "hash").step == 1


def test_a_full_disk_is_recognised_in_what_safetensors_reports() -> None:
    """/dev/full answers every write with ENOSPC, but safetensors wants a file: its error is text from Rust."""
    with pytest.raises(StorageError, match="disk is full"), checkpoints.storage_errors("it"):
        raise checkpoints.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


# ---------------------------------------------------------------- schedule


def test_the_rate_rises_linearly_and_then_stays() -> None:
    optimizer = Optimizer(learning_rate=1.0, warmup_share=0.1)
    rates = [learning_rate(optimizer, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert set(rates[10:]) == {1.0}


def test_the_cosine_falls_to_nothing() -> None:
    optimizer = Optimizer(learning_rate=1.0, warmup_share=0.1, schedule="cosine")
    rates = [learning_rate(optimizer, step, 100) for step in range(100)]
    assert max(rates) == 1.0
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[10:]))
    assert 0 < rates[-1] < 0.001


def test_every_epoch_is_a_permutation_of_its_own_and_a_function_of_seed_and_step() -> None:
    epochs = [[row for step in range(4 * e, 4 * e + 4) for row in batch_rows(step, 17, 4, seed=3)] for e in (0, 1)]
    assert all(len(set(epoch)) == 16 for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert batch_rows(6, 17, 4, seed=3) == batch_rows(6, 17, 4, seed=3) != batch_rows(6, 17, 4, seed=4)
    assert sorted(batch_rows(5, 3, 8, seed=0)) == [0, 1, 2], "fewer rows than a batch make one smaller batch"


def test_steps_replace_epochs() -> None:
    assert total_steps(SFTConfig(steps=7), rows=1000) == 7
    assert total_steps(SFTConfig(epochs=0.5, batch_size=10), rows=1000) == 50
    assert total_steps(SFTConfig(epochs=0.001), rows=1000) == 1
