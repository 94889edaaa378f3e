"""What a run may meet at its edges: ties, empty validation, parts without gradients, leftovers of killed processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from pydantic import BaseModel
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from copg_core.adapters import add_lora
from copg_core.checkpoints import save_checkpoint
from copg_core.config import RunConfig
from copg_core.errors import CheckpointError, DataError
from copg_core.precision import MasterWeights
from copg_core.processes import Processes
from copg_core.recipe import Lora, Optimizer
from copg_core.reference import log_probs_of
from copg_core.trial_config import TrialConfig
from copg_core.watch import Watch
from tests.core.conftest import ROWS, config_of, run


@pytest.mark.parametrize("algorithm", ["dpo", "ipo"])
def test_fresh_completions_that_tie_do_not_stop_a_run_at_its_start(algorithm: str, tmp_path: Path) -> None:
    # The gold reward of completions this short is the same for most pairs.
    sampling = {"first": "policy", "second": "policy", "share": 1.0, "max_new_tokens": 2}
    _, outcome = run(config_of(algorithm, sampling=sampling, steps=1), tmp_path)
    assert outcome.finished


def write_pairs(path: Path, rewards: tuple[float, float]) -> str:
    path.write_text(
        "".join(
            f'{{"prompt": "p{i}", "completion_1": "a {i}", "completion_2": "b {i}", "reward_1": {rewards[0]}, '
            f'"reward_2": {rewards[1]}}}\n'
            for i in range(20)
        )
    )
    return str(path)


@pytest.mark.parametrize("algorithm", ["copg", "dpo", "reward_model"])
def test_no_validation_rows_are_no_failure(algorithm: str, tmp_path: Path) -> None:
    data = {"kind": "file", "path": write_pairs(tmp_path / "pairs.jsonl", (1, 0)), "validation_share": 0.0}
    more: dict[str, Any] = {} if algorithm == "reward_model" else {"reward": {"kind": "data"}}
    run(config_of(algorithm, data=data, steps=1, **more), tmp_path / "run")
    assert (tmp_path / "run" / "output" / "run.json").is_file()


def test_only_ties_are_said_in_a_sentence(tmp_path: Path) -> None:
    data = {"kind": "file", "path": write_pairs(tmp_path / "pairs.jsonl", (1, 1)), "validation_share": 0.0}
    with pytest.raises(DataError, match="no training rows are left"):
        run(config_of("reward_model", data=data, steps=1), tmp_path / "run")


class Eyed(nn.Module):
    """A model with a part that text never reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.eyes = nn.Linear(3, 1), nn.Linear(2, 2)


def test_parts_without_gradients_are_no_reason_to_refuse_a_checkpoint() -> None:
    model = Eyed()
    weights = MasterWeights(model, {}, Optimizer())
    model.text(torch.ones(1, 3)).sum().backward()
    weights.update(torch.tensor(1.0))
    masters, moments = weights.tensors()
    again = MasterWeights(Eyed(), {}, Optimizer())
    again.load(masters, moments, source=Path("step-1"))
    for saved, kept in zip(again.tensors(), (masters, moments), strict=True):
        assert {name: tensor.tolist() for name, tensor in saved.items()} == {
            name: tensor.tolist() for name, tensor in kept.items()
        }
    without = {name: tensor for name, tensor in moments.items() if not name.endswith(":exp_avg_sq")}
    with pytest.raises(CheckpointError, match="lacks part of Adam's state of text"):
        again.load(masters, without, source=Path("step-1"))


def test_what_a_killed_process_left_half_written_goes(tmp_path: Path) -> None:
    (tmp_path / ".partial-3-99999").mkdir()
    (tmp_path / ".partial-3-99999" / "model.safetensors").write_bytes(b"half")
    save_checkpoint(tmp_path, 5, {"a": torch.ones(1)}, {"a:step": torch.ones(1)}, {}, "hash")
    assert [path.name for path in tmp_path.iterdir()] == ["step-5"]


def test_a_checkpoint_without_the_watch_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="lacks watch"):
        Watch(config_of("copg"), tmp_path).restore({})


def test_adapters_find_the_layers_of_gpt2s_decoder() -> None:
    decoder = GPT2LMHeadModel(
        GPT2Config(vocab_size=50, bos_token_id=1, eos_token_id=2, n_positions=64, n_embd=16, n_layer=1, n_head=2)
    ).transformer
    adapted = add_lora(decoder, Lora(enabled=True, rank=2), seed=0)
    assert any("lora_A" in name for name, _ in adapted.named_parameters())


class TwoProcesses(Processes):
    """The first of two, the other of which has already had to be content with 20 tokens at once."""

    def gather(self, value: Any) -> list[Any]:
        return [value, 20] if isinstance(value, int) else [value, value]


def test_all_processes_cut_rows_by_the_smallest_budget() -> None:
    seen: list[int] = []

    class Module(nn.Module):
        def forward(self, rows: Any) -> torch.Tensor:
            seen.append(rows.input_ids.numel())
            return torch.zeros(rows.last.shape)

    log_probs_of(
        Module(), ROWS * 4, packed=True, pad=0, token_budget=10_000, device=torch.device("cpu"),
        processes=TwoProcesses(torch.device("cpu")),
    )  # fmt: skip
    longest = max(row.tokens(packed=True) for row in ROWS)
    assert max(seen) <= max(20, longest)


@pytest.mark.parametrize("config", [*get_args(RunConfig), TrialConfig])
def test_every_whole_number_of_a_configuration_fits_a_column(config: type[BaseModel]) -> None:
    schema = config.model_json_schema()

    def unbounded(part: object, path: str) -> list[str]:
        if isinstance(part, list):
            return [found for number, one in enumerate(part) for found in unbounded(one, f"{path}.{number}")]
        if not isinstance(part, dict):
            return []
        bare = part.get("type") == "integer" and not ({"maximum", "exclusiveMaximum", "const", "enum"} & set(part))
        return [path] * bare + [found for name, one in part.items() for found in unbounded(one, f"{path}.{name}")]

    assert unbounded(schema, "") == []
