"""Every configuration in experiments/ is valid, and those that mirror the built-in pipeline stay equal to it."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from backend.presets import miniature
from backend.schemas.pipelines import PipelineCreate
from copg_core.config import load_config, parents, parse_config

EXPERIMENTS = Path(__file__).resolve().parent.parent / "experiments"
FILES = sorted(EXPERIMENTS.rglob("*.toml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_it_is_a_run_whose_parents_stand_beside_it(file: Path) -> None:
    config = load_config(file)
    assert config.algorithm == file.stem.partition("-")[0]
    assert all((file.parent / f"{parent}.toml").is_file() for parent in parents(config).values())


def _with_parents(config: dict[str, Any]) -> Any:
    names = {"$sft": "sft", "$rm": "reward_model"}
    for role in ("policy", "reward"):
        if (source := config.get(role)) and source.get("run") in names:
            config = {**config, role: {**source, "run": names[source["run"]]}}
    return parse_config(config)


def test_the_miniature_files_are_the_built_in_pipeline() -> None:
    for step in miniature("laptop"):
        file = EXPERIMENTS / "miniature" / f"{step.config['algorithm']}.toml"
        assert load_config(file) == _with_parents(step.config)


def test_sweeps_start_from_the_smallest_built_in_pipeline() -> None:
    for step in miniature("ci")[:2]:
        assert load_config(EXPERIMENTS / "ci" / f"{step.config['algorithm']}.toml") == _with_parents(step.config)


def test_a_sweep_is_priced_without_training(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = runpy.run_path(str(EXPERIMENTS / "sweep.py"))
    file = str(EXPERIMENTS / "paper" / "copg-0.06.toml")
    monkeypatch.setattr("sys.argv", ["sweep.py", file, "--betas", "0.01", "1", "--dry-run", "--gpu", "H200"])
    assert script["main"]() == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in said] == ["copg at beta 0.01", "copg at beta 1"]
    assert all("Fits: needs 137.3 GB, H200 has 150.8 GB. time: about 3 h" in line for line in said)


def test_the_tiny_tldr_pipeline_is_a_valid_request() -> None:
    script = runpy.run_path(str(EXPERIMENTS / "tldr_tiny.py"))
    body = script["pipeline"](Path("/data"), sft_steps=1, reward_epochs=1.0, preference_steps=1, prompts=8)
    request = PipelineCreate.model_validate(body)
    assert [parse_config(step.config).algorithm for step in request.steps] == [
        "sft",
        "reward_model",
        "copg",
        "dpo",
        "ipo",
    ]
