"""experiments/paper is the paper's Section 6: its table in every file, and a dry run that says what each would take."""

from __future__ import annotations

from pathlib import Path

import pytest
from click import ClickException

from backend import pipelines
from backend.commands.reproduce import steps_of
from backend.schemas.pipelines import PipelineCreate
from copg_core.__main__ import main
from copg_core.config import PreferenceConfig, SFTConfig, load_config
from copg_core.estimate import estimate_run, named_machine
from copg_core.inputs import Lookup
from copg_core.rehearsal import plan

PAPER = Path(__file__).resolve().parent.parent / "experiments" / "paper"
FILES = sorted(PAPER.glob("*.toml"))
BETAS = {
    "copg": {0.01, 0.03, 0.06, 0.1, 0.3, 1.0},
    "dpo": {0.01, 0.03, 0.06, 0.1, 0.3, 1.0},
    "ipo": {0.003, 0.01, 0.03, 0.06, 0.1, 0.3},
}
BEST = {"copg": 0.06, "dpo": 0.1, "ipo": 0.01}
LOOKUP = Lookup(lambda run: PAPER / run, lambda run: load_config(PAPER / f"{run}.toml"))


def test_the_sweeps_are_the_papers() -> None:
    sweeps: dict[str, set[float]] = {name: set() for name in BETAS}
    best = {}
    for file in FILES:
        config = load_config(file)
        if not isinstance(config, PreferenceConfig):
            continue
        if file.stem.endswith("-fig6"):
            best[config.algorithm] = config.beta
            assert (config.evaluation.prompts, config.evaluation.every) == (1024, 100)
        else:
            sweeps[config.algorithm].add(config.beta)
            assert (config.evaluation.prompts, config.evaluation.every) == (128, 50)
            assert file.stem == f"{config.algorithm}-{config.beta}"
    assert sweeps == BETAS
    assert best == BEST
    assert len(FILES) == 2 + 18 + 3


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.stem))
def test_every_file_is_the_table_and_dry_runs(file: Path) -> None:
    config = load_config(file)
    optimizer = config.optimizer
    assert (config.batch_size, config.epochs, config.steps, config.dtype) == (128, 2.0, None, "bfloat16")
    assert (optimizer.warmup_share, optimizer.weight_decay) == (0.1, 0.0)
    assert not config.lora.enabled
    if isinstance(config, SFTConfig):
        assert (optimizer.learning_rate, optimizer.schedule) == (2e-5, "cosine")
    else:
        assert (optimizer.learning_rate, optimizer.schedule) == (1e-6, "constant")
    lines, estimate = plan(config, LOOKUP, named_machine("H200"))
    said = "\n".join(lines)
    assert "not checked: data trl-lib/tldr" in said
    assert "on H200" in said
    assert estimate.memory is not None
    assert estimate.time is not None
    assert estimate.machine.memory == 143_771 * 2**20
    assert estimate.fits is True
    assert not estimate.memory.gradient_checkpointing
    # Sixteen bytes a parameter are 107.8 GB before the first activation: more than a card of 80 GB, which needs adapters.
    assert estimate_run(config, named_machine("A100 80GB"), LOOKUP).fits is False
    adapted = config.model_copy(update={"lora": config.lora.model_copy(update={"enabled": True})})
    assert estimate_run(adapted, named_machine("A100 80GB"), LOOKUP).fits is True


def test_the_command_names_what_it_could_not_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(PAPER / "copg-0.06.toml"), "--dry-run", "--gpu", "H200"]) == 0
    said = capsys.readouterr().out
    for what in ("run sft is not trained yet", "run reward_model is not trained yet", "data trl-lib/tldr-preference"):
        assert f"not checked: {what}" in said
    assert main(["train", str(PAPER / "copg-0.06.toml"), "--dry-run", "--gpu", "A100 80GB"]) == 1
    assert "GB, A100 80GB has 85.9 GB. Most of it: moments of Adam 53.9 GB" in capsys.readouterr().out


def test_a_parent_of_the_wrong_kind_or_nowhere_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (PAPER / "copg-0.06.toml").read_text()
    (tmp_path / "reward_model.toml").write_text((PAPER / "reward_model.toml").read_text())
    file = tmp_path / "copg.toml"
    file.write_text(text)
    assert main(["train", str(file), "--dry-run"]) == 1
    assert "is not the output of a finished run, nor is it one that is planned" in capsys.readouterr().err
    file.write_text(text.replace('run = "sft"', 'run = "reward_model"'))
    assert main(["train", str(file), "--dry-run"]) == 1
    assert "trains a reward model, but a language model is needed as policy" in capsys.readouterr().err


def test_the_files_are_one_pipeline(tmp_path: Path) -> None:
    steps = steps_of(PAPER)
    planned = pipelines.plan(PipelineCreate.model_validate({"steps": steps}))
    assert [step.alias for step in planned[:2]] == ["sft", "reward_model"]
    assert {step.name for step in planned} == {file.stem for file in FILES}
    for step in planned[2:]:
        assert pipelines.aliases(step.raw) == {"policy": "sft", "reward": "reward_model"}
        assert pipelines.resolved(step.raw, {"sft": "sft", "reward_model": "reward_model"}) == load_config(
            PAPER / f"{step.name}.toml"
        )
    with pytest.raises(ClickException, match="has no TOML files"):
        steps_of(tmp_path)
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / f"{name}.toml").write_text(f'algorithm = "sft"\npolicy = {{ kind = "run", run = "{other}" }}\n')
    with pytest.raises(ClickException, match="wait for each other"):
        steps_of(tmp_path)
