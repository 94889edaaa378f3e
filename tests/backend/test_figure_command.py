"""`copg figure` reaches every figure that the page draws, and says what is missing where it is asked for less or for too much."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import httpx
import pytest
from click.testing import CliRunner

from backend.cli import main
from backend.database import Database
from backend.figures import bandit, compare, data_sets, gpus
from backend.figures.catalogue import FIGURES
from backend.settings import Settings
from tests.backend.studio_bench import Bench, evaluation
from tests.backend.test_command_mistakes import NOBODY
from tests.backend.test_commands import Copg, address, copg, file, launch, worker
from tests.backend.test_gpu_history import beats
from tests.backend.upload_bench import analysed, lines, upload

__all__ = ["address", "copg", "file", "worker"]
SHORT = {"epochs": 1, "pairs": 600, "algorithms": ["copg"]}


def rows(copg: Copg, *arguments: str) -> list[str]:
    return copg("figure", *arguments, "--format", "csv").stdout.splitlines()


def test_samples_of_a_run_by_step_and_a_sweeps_own_figure(copg: Copg, file: Path, worker: Bench) -> None:
    run = launch(copg, file)
    worker.record(worker.claim(run), evaluation(0), evaluation(50, reward=1.0), evaluation(100, reward=2.0))
    text = "\n".join(rows(copg, "reward", f"{run}@first", f"{run}@50", f"{run}@last"))
    assert [step for step in ("step 0:", "step 50:", "step 100:") if step not in text] == []
    assert f"as in {run}@last" in copg("figure", "reward", run, f"{run}@last", code=1).output
    sweep = copg("sweep", str(file), "--vary", "beta=0.1, 1").output.split()[0]
    assert rows(copg, "final_reward", "--sweep", sweep) == [
        "run,algorithm,variant,series,beta,reward_mean,reward_stderr,prompts,step,finished"
    ]


def test_a_data_sets_figures(copg: Copg, address: str, database: Database, settings: Settings) -> None:
    pairs = [
        {"prompt": "p" * i, "completion_1": "a", "completion_2": "bb", "reward_1": i, "reward_2": 0}
        for i in range(1, 20)
    ]
    with httpx.Client(base_url=address) as client:
        bench = Bench(client, database, settings)  # type: ignore[arg-type] - of the studio that is served
        uid = analysed(bench, upload(bench, lines(pairs))["id"])["id"]
    for name in data_sets.FIGURES:
        head, *found = rows(copg, name, "--dataset", uid)
        assert head == "series,from,to,count"
        assert found
    assert "'prompt_lengths'" in copg("figure", "reward", "--dataset", uid, code=1).output


def test_gpus_figures(copg: Copg, database: Database) -> None:
    beats(database, 7200.0, 600.0, host="box")
    assert len(rows(copg, "gpu_use")) == 2
    assert len(rows(copg, "gpu_memory", "--hours", "3", "--host", "box")) == 3
    assert rows(copg, "gpu_use", "--host", "other")[1:] == []


def test_the_bandits_figures_of_a_preset_and_of_a_file(copg: Copg, tmp_path: Path) -> None:
    toml, plain = tmp_path / "bandit.toml", tmp_path / "bandit.JSON"
    toml.write_text('epochs = 1\npairs = 600\nalgorithms = ["copg"]\n')
    plain.write_text(json.dumps({**SHORT, "reference": None}))
    for name in ("regret", "simplex", "policies", "frontier"):
        assert rows(copg, name, "--bandit", str(toml)) == rows(copg, name, "--bandit", str(plain))
    target = tmp_path / "regret.json"
    copg("figure", "regret", "--bandit", "low_beta", "--scale", "log", "--to", str(target))
    drawn = json.loads(target.read_text())["figure"]
    assert drawn["layout"]["yaxis"]["type"] == "log"
    assert "choose one of paper, support" in copg("figure", "regret", "--bandit", "papre", code=1).output
    assert "10 arms has no simplex" in copg("figure", "simplex", "--bandit", "ten_arms", code=1).output
    toml.write_text("beta = -1\n")
    assert "beta: " in copg("figure", "regret", "--bandit", str(toml), code=1).output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("reward",), "RUN@STEP for samples, or one of --sweep, --dataset and --bandit"),
        (("reward", "a1", "--sweep", "b1"), "name one run or several"),
        (("gpu_use", "a1"), "gpu_use is of all GPUs"),
        (("reward", "a1", "--hours", "2"), "--hours is for the figures of the GPUs"),
        (("reward", "a1@last", "--band", "ci95"), "--band is for the figures of several runs"),
        (("regret", "--bandit", "paper.toml", "--host", "box"), "paper.toml cannot be read"),
        (("contrast", "--dataset", "a1", "--scale", "log"), "--scale is for the figures of the bandit"),
        (("regret", "--bandit", "paper"), "no studio answers"),
    ],
)
def test_what_does_not_go_together_is_said_before_anything_is_asked(arguments: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(main, ["figure", *arguments], env={"COPG_SERVER": NOBODY})
    assert (result.exit_code, said in result.output) == (1, True), result.output


@pytest.mark.parametrize(
    ("text", "said"),
    [("[1]", "holds no JSON object"), ("{", "is not a JSON file"), ('{"beta": NaN}', "beta is nan: give a finite")],
)
def test_a_json_file_that_is_no_experiment(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bandit.json"
    path.write_text(text)
    result = CliRunner().invoke(main, ["figure", "regret", "--bandit", str(path)], env={"COPG_SERVER": NOBODY})
    assert (result.exit_code, said in result.output) == (1, True), result.output


def test_its_help_names_every_figure() -> None:
    told = CliRunner().invoke(main, ["figure", "--help"]).output
    measures = ["reward", "gold", "length", "final_reward"]
    every = [*FIGURES, *compare.TITLES, *data_sets.FIGURES, *gpus.FIGURES, *get_args(bandit.FigureName), *measures]
    assert set(every) <= set(re.findall(r"\w+", told))
