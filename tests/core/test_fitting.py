"""Whether a run fits, asked where it starts: what is free, what is refused, what is done about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from copg_core import train as training
from copg_core.encoding import TruncationReport
from copg_core.errors import ConfigError
from copg_core.estimate import Machine
from copg_core.fitting import lengths_of
from copg_core.machine import free_main_memory, this_machine, with_measured_rate
from copg_core.memory import CPU_RUNTIME
from copg_core.model_shape import ModelShape
from copg_core.processes import Processes
from tests.core.conftest import Remembering, config_of

MIB = 2**20


def give(monkeypatch: pytest.MonkeyPatch, memory: int) -> None:
    monkeypatch.setattr(training, "this_machine", lambda processes: Machine("small box", memory, cpu=True))


def start(tmp_path: Path, **settings: Any) -> Remembering:
    recorder = Remembering()
    training.train(config_of("copg", steps=1, **settings), recorder, folder=tmp_path / "run")
    return recorder


def test_a_run_that_does_not_fit_is_refused_before_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, 100 * MIB)
    with pytest.raises(ConfigError, match=r"Does not fit: needs .* MB, small box has 104\.9 MB. Most of it: runtime"):
        start(tmp_path)
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


def test_auto_starts_with_gradient_checkpointing_where_it_will_be_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A nano model keeps about 0.9 MB of a row of 50 tokens and 0.6 MB checkpointed: a batch of 8 tells them apart."""
    settings = {"evaluation": {"every": 3, "prompts": 4, "generation": {"max_new_tokens": 2, "batch_size": 2}}}
    give(monkeypatch, 2**34)
    roomy = start(tmp_path / "roomy", **settings).report("memory")
    assert roomy["gradient_checkpointing"] is False
    needed = int(roomy["needed_bytes"])
    assert needed > CPU_RUNTIME
    give(monkeypatch, needed - 1)
    recorder = start(tmp_path / "tight", **settings)
    assert recorder.report("memory")["gradient_checkpointing"] is True
    assert recorder.report("memory")["needed_bytes"] < needed
    assert recorder.losses() == pytest.approx(start_losses(tmp_path, monkeypatch, settings), rel=1e-5)


def start_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]) -> dict[int, float]:
    give(monkeypatch, 2**34)
    return start(tmp_path / "again", **settings).losses()


def test_lengths_are_what_encoding_counted() -> None:
    """Ten pairs of 300 prompt and 200 completion tokens in all: 30 + 20 in one row, 60 + 20 in two."""
    counted = TruncationReport(
        rows=10, prompt_tokens=300, completion_tokens=200, longest_prompt=900, longest_completion=15
    )
    config = config_of("copg", max_prompt_tokens=40)
    packed, apart = (lengths_of(counted, config, packed=packed) for packed in (True, False))
    assert (packed.mean, packed.longest, packed.completions, packed.rows) == (50, 40 + 2 * 15, 20, 10)
    assert (apart.mean, apart.longest) == (80, 2 * 40 + 2 * 15)
    single = lengths_of(counted, config_of("sft", max_prompt_tokens=40), packed=False)
    assert (single.mean, single.longest) == (50, 55)


def test_a_containers_limit_counts_before_the_machines(tmp_path: Path) -> None:
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    cgroup.mkdir()
    assert free_main_memory(proc, cgroup) is None
    (proc / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    8000 kB\n")
    (proc / "self" / "statm").write_text("0 0 0\n")
    assert free_main_memory(proc, cgroup) == 8000 * 1024
    (cgroup / "memory.current").write_text("3000000\n")
    (cgroup / "memory.stat").write_text("anon 1\ninactive_file 1000000\n")
    (cgroup / "memory.max").write_text("max\n")
    assert free_main_memory(proc, cgroup) == 8000 * 1024
    (cgroup / "memory.max").write_text("5000000\n")
    assert free_main_memory(proc, cgroup) == 3_000_000


def test_this_processor_is_measured() -> None:
    machine = this_machine(Processes(torch.device("cpu")))
    assert machine.cpu
    assert machine.memory is None or machine.memory > 100 * MIB
    rates = with_measured_rate(machine, ModelShape(2, 64, 172, 4, 4, 16, 100)).rates
    assert rates is not None
    assert 1e6 < rates.training < 1e14
