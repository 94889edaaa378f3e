"""Tiny models and rows, and a recorder that remembers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from copg_core.config import RunConfig, parse_config
from copg_core.events import Event
from copg_core.layout import TokenRow
from copg_core.train import Outcome, train

STORIES = Path(__file__).parents[3] / "shared" / "data" / "stories260K" / "hf"


class Remembering:
    """A recorder that keeps every event; `on_event` may act on one."""

    def __init__(self, on_event: Callable[[Event], None] | None = None) -> None:
        self.events: list[Any] = []
        self._on_event = on_event

    def record(self, event: Event) -> None:
        self.events.append(event)
        if self._on_event:
            self._on_event(event)

    def of(self, kind: str) -> list[Any]:
        return [event for event in self.events if event.event == kind]

    def report(self, section: str) -> dict[str, Any]:
        return next(dict(event.values) for event in self.of("report") if event.section == section)

    def losses(self) -> dict[int, float]:
        return {event.step: event.values["loss"] for event in self.of("metrics")}


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def float64_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Llama's RMSNorm rounds to float32 on purpose; comparisons at 1e-12 need it not to."""

    def forward(self: Any, hidden: torch.Tensor) -> torch.Tensor:
        scale = torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        return self.weight * hidden * scale

    monkeypatch.setattr(LlamaRMSNorm, "forward", forward)


def tiny_llama(seed: int = 0, vocabulary: int = 40, **settings: Any) -> Any:
    """Two layers of width 16. Weights ten times the usual, so that a mistake shows."""
    config = LlamaConfig(
        **{
            "vocab_size": vocabulary,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "initializer_range": 0.2,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
            **settings,
        }
    )
    torch.manual_seed(seed)
    return LlamaForCausalLM(config).eval()


# Long and short, a prompt of one token, a completion of one token, and a pair that is twice the same.
ROWS = [
    TokenRow([1, 5, 6, 7, 8, 9], ([10, 11, 12, 2], [13, 2])),
    TokenRow([1], ([14, 15, 2], [16, 17, 18, 19, 20, 2])),
    TokenRow([1, 21, 22], ([2], [23, 24, 25, 26])),
    TokenRow([1, 27, 28, 29], ([30, 31, 2], [30, 31, 2])),
]

MINIATURE = {"kind": "task", "train_size": 48, "validation_size": 16}
NANO = {"kind": "preset", "size": "nano"}


def config_of(algorithm: str, **settings: Any) -> RunConfig:
    """A run of six steps on a few rows of the miniature task."""
    common = {
        "algorithm": algorithm,
        "policy": NANO,
        "data": MINIATURE,
        "batch_size": 8,
        "steps": 6,
        "optimizer": {"learning_rate": 1e-3},
        "evaluation": {"every": 3, "prompts": 8, "generation": {"max_new_tokens": 6}},
        "checkpoints": {"every": 2, "keep": 2},
    }
    return parse_config(common | settings)


def run(config: RunConfig, folder: Path, **options: Any) -> tuple[Remembering, Outcome]:
    recorder = options.pop("recorder", None) or Remembering()
    return recorder, train(config, recorder, folder=folder, **options)


def weights(outcome: Outcome) -> dict[str, torch.Tensor]:
    assert outcome.output is not None
    return load_file(next(outcome.output.glob("*.safetensors")))


def identical(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class StopAfter:
    """should_stop that says so once `step` was reported."""

    def __init__(self, step: int) -> None:
        self.stop, self._step = False, step

    def see(self, event: Event) -> None:
        self.stop |= event.event == "metrics" and event.step >= self._step

    def __call__(self) -> bool:
        return self.stop


@pytest.fixture(scope="session")
def stories() -> str:
    """A real pretrained Llama of 260,000 parameters."""
    if not STORIES.is_dir():
        pytest.skip(f"the pretrained model is not there: {STORIES}")
    return str(STORIES)
