"""The `copg` command against a studio that runs: what a script would do, and what it gets told when it is wrong."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pyarrow import csv, parquet

from backend.cli import main
from backend.database import Database
from backend.settings import Settings
from backend.states import RunState
from copg_core import events
from tests.backend.studio_bench import Bench, evaluation, served

RUN = 'algorithm = "copg"\nsteps = 100\n[reward]\nkind = "gold"\n'
Copg = Callable[..., Result]


@pytest.fixture
def address(settings: Settings) -> Iterator[str]:
    with served(settings) as where:
        yield where


@pytest.fixture
def copg(address: str) -> Copg:
    def run(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(main, list(arguments), env={"COPG_SERVER": address})
        assert result.exit_code == code, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    return run


@pytest.fixture
def worker(database: Database, settings: Settings) -> Bench:
    return Bench(None, database, settings)  # type: ignore[arg-type] - only its worker's hands


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(RUN)
    return path


def launch(copg: Copg, file: Path, *options: str) -> str:
    return copg("launch", str(file), *options).output.split()[0]


def two_betas(copg: Copg, file: Path, worker: Bench) -> list[str]:
    """Two runs that were launched by the command and have been evaluated at their beginning and their end."""
    runs = []
    for beta in (0.1, 1.0):
        file.write_text(f"beta = {beta}\n{RUN}")
        runs.append(launch(copg, file))
    for run in runs:
        worker.record(worker.claim(run), evaluation(0), evaluation(100, reward=1.0))
    return runs


def test_the_same_key_makes_one_run(copg: Copg, file: Path) -> None:
    first = launch(copg, file, "--name", "mine", "--tag", "paper", "--priority", "3", "--key", "once")
    assert launch(copg, file, "--name", "mine", "--tag", "paper", "--priority", "3", "--key", "once") == first
    [run] = json.loads(copg("runs", "list", "--where", "tags=paper", "--json").output)["items"]
    assert (run["id"], run["name"], run["priority"]) == (first, "mine", 3)


def test_runs_are_chosen_cancelled_resumed_and_deleted(copg: Copg, file: Path) -> None:
    one, other = launch(copg, file), launch(copg, file)
    assert "1 of 3 refused" in copg("runs", "cancel", one, "beef", other, code=1).output
    listed = copg("runs", "list", "--where", "state=cancelled", "--sort", "created_at").output.splitlines()
    assert [line.split()[0] for line in listed[1:]] == [one, other]
    assert "queued" in copg("runs", "resume", one).output
    copg("runs", "delete", other)
    assert json.loads(copg("runs", "list", "--where", "state=cancelled", "--json").output)["items"] == []
    assert "config.bta" in copg("runs", "list", "--where", "config.bta>1", code=1).output


def test_waiting_ends_with_the_last_run_and_tells_who_failed(copg: Copg, file: Path, worker: Bench) -> None:
    good, bad = launch(copg, file), launch(copg, file)
    assert "Not ended after 0.2 s" in copg("runs", "wait", good, "--timeout", "0.2", code=124).output

    def train() -> None:
        time.sleep(0.3)
        worker.succeed(good)
        worker.finish(worker.claim(bad), RunState.FAILED, error="the reward is NaN", error_kind="reward")

    thread = threading.Thread(target=train)
    thread.start()
    waited = copg("runs", "wait", good, bad, "--timeout", "60", code=1)
    thread.join()
    assert "the reward is NaN" in waited.output
    assert copg("runs", "wait", good).output.split()[-1] == "succeeded"
    assert copg("runs", "wait", bad, good, "--first", code=1).output
    assert "the reward is NaN" in copg("runs", "follow", bad, code=1).output


@pytest.fixture
def recorded(copg: Copg, file: Path, worker: Bench) -> str:
    uid = launch(copg, file)
    claim = worker.claim(uid)
    worker.record(
        claim,
        *(events.Metrics(step=step, values={"loss": 1.0 / (step + 1)}) for step in range(25_000)),
        evaluation(0, reward=0.5, n=2),
        evaluation(50, reward=1.5, n=2),
    )
    return uid


@pytest.mark.parametrize("form", ["csv", "parquet", "json"])
def test_evaluations_as_a_table(copg: Copg, recorded: str, tmp_path: Path, form: str) -> None:
    target = tmp_path / f"out.{form}"
    copg("export", recorded, "--to", str(target))
    rows = table(target)
    assert [row["step"] for row in rows] == [0, 50]
    assert [row["reward_mean"] for row in rows] == [0.5, 1.5]
    assert {row["run"] for row in rows} == {recorded}


def test_long_curves_are_exported_whole(copg: Copg, recorded: str, tmp_path: Path) -> None:
    target = tmp_path / "curves.parquet"
    copg("export", "--where", "state=running", "--what", "curves", "--to", str(target))
    rows = [row for row in table(target) if row["metric"] == "loss"]
    assert [row["step"] for row in rows] == list(range(25_000))
    assert rows[-1]["value"] == 1.0 / 25_000


def test_samples_and_configurations(copg: Copg, recorded: str) -> None:
    samples = json.loads(copg("export", recorded, "--what", "samples", "--format", "json").output)
    assert [(row["step"], row["prompt_index"], row["reward"]) for row in samples] == [
        (0, 0, 0.5), (0, 1, 0.5), (50, 0, 1.5), (50, 1, 1.5),
    ]  # fmt: skip
    text = copg("export", recorded, "--what", "runs").output
    [row] = csv.read_csv(io.BytesIO(text.encode())).to_pylist()
    assert row["config.reward.kind"] == "gold"
    assert row["config.steps"] == 100


def table(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".csv":
        return list(csv.read_csv(path).to_pylist())
    if path.suffix == ".parquet":
        return list(parquet.read_table(path).to_pylist())
    return list(json.loads(path.read_text()))


def test_nothing_chosen_and_unwritable_files_get_a_sentence(copg: Copg, recorded: str, tmp_path: Path) -> None:
    assert "name runs" in copg("export", code=1).output
    assert "--format" in copg("export", recorded, "--to", str(tmp_path / "out.xyz"), code=1).output
    assert "cannot be written" in copg("export", recorded, "--to", str(tmp_path / "no" / "out.csv"), code=1).output
    assert list(tmp_path.glob(".*")) == []
    fresh = copg("launch", str(tmp_path / "run.toml")).output.split()[0]
    assert "no samples of the 1 run chosen" in copg("export", fresh, "--what", "samples", code=1).output


def test_a_sweep_from_a_file_and_what_varies(copg: Copg, file: Path) -> None:
    vary = ("--vary", "beta=0.1, 0.3", "--vary", "seed=0..2")
    planned = copg("sweep", str(file), *vary, "--dry-run").output
    assert "6 runs" in planned
    assert "no worker could take them: no worker serves the queue 'default'" in planned
    made = copg("sweep", str(file), *vary, "--name", "mine", "--key", "k").output.split()[0]
    assert copg("sweep", str(file), *vary, "--name", "mine", "--key", "k").output.split()[0] == made
    assert "mine" in copg("sweeps", "list").output
    assert "mine" in copg("sweeps", "list", "--limit", "101").output  # more than the route gives at once
    shown = copg("sweeps", "show", made).output.splitlines()
    assert "beta" in shown[0]
    assert len(shown) == 1 + 6 + 1
    assert "2 runs changed" in copg("sweeps", "extend", made, "--vary", "seed=3").output
    assert "changed" in copg("sweeps", "cancel", made).output
    assert "cancelled" in copg("sweeps", "wait", made, code=1).output
    assert "changed" in copg("sweeps", "resume", made).output
    copg("sweeps", "cancel", made)
    copg("sweeps", "delete", made)
    assert "no sweep" in copg("sweeps", "show", made, code=1).output


def test_a_sweeps_own_file_and_its_mistakes(copg: Copg, tmp_path: Path) -> None:
    own = tmp_path / "sweep.toml"
    own.write_text(f"[config]\n{RUN.replace('[reward]', '[config.reward]')}[grid]\nbeta = [0.1, -1]\n")
    assert "beta" in copg("sweep", str(own), code=1).output
    own.write_text("betas = [1]\n")
    assert "it has betas" in copg("sweep", str(own), code=1).output
    own.write_text(RUN)
    assert "is not FIELD=VALUES" in copg("sweep", str(own), "--vary", "beta", code=2).output


def test_what_a_sweep_leaves_out_is_told(copg: Copg, file: Path) -> None:
    vary = ("--vary", "beta=0.1, 0.10, 0.3")
    assert "2 runs, 0 made for them, 1 duplicate left out" in copg("sweep", str(file), *vary, "--dry-run").output
    made = copg("sweep", str(file), *vary)
    assert "2 runs" in made.stdout
    assert made.stderr == "1 duplicate left out\n"


def test_the_paper_is_queued_by_one_command(copg: Copg, worker: Bench) -> None:
    lines = copg("reproduce", "--size", "ci", "--key", "once").output.splitlines()
    assert copg("reproduce", "--size", "ci", "--key", "once").output.splitlines() == lines
    _, reward_model, trained = made = [line.split()[0] for line in lines[:3]]
    assert lines[3].endswith(f"/compare?run={trained}")
    assert json.loads(copg("runs", "show", trained).output)["config"]["reward"]["run"] == reward_model
    own = Path(__file__).resolve().parents[2] / "experiments" / "ci"
    *runs, compared = copg("reproduce", str(own)).output.splitlines()
    assert [line.split()[1] for line in runs] == ["sft", "reward_model", "copg", "dpo", "ipo"]
    assert compared.count("run=") == 3
    assert "leave it out" in copg("reproduce", str(own), "--size", "ci", code=2).output
    copg("runs", "cancel", *reversed(made))
    assert "cancelled" in copg("reproduce", "--size", "ci", "--key", "once", "--follow", code=1).output


def test_the_queue_is_shown_paused_and_resumed(copg: Copg, file: Path) -> None:
    uid = launch(copg, file)
    assert "paused since" in copg("queue", "pause").output
    assert uid in copg("queue", "show").output
    assert copg("queue", "resume").output.strip() == "running"


def test_a_studio_that_asks_for_a_token(
    copg: Copg, address: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COPG_DATABASE_URL", settings.database_url)
    token = CliRunner().invoke(main, ["tokens", "create", "script"]).output.split()[0]
    deadline = time.monotonic() + 20
    while (refused := CliRunner().invoke(main, ["runs", "list", "--server", address])).exit_code == 0:
        assert time.monotonic() < deadline, "the token is not in force"
        time.sleep(0.1)
    assert "COPG_TOKEN" in refused.output
    assert "id" in copg("runs", "list", "--token", token).output
