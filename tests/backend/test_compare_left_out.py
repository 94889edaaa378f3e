"""A chosen run that is in no comparison is named wherever the comparison is read: the API, the report, the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from backend.comparison_table import left_out
from tests.backend.studio_bench import API, Bench
from tests.backend.test_commands import Copg, address, copg, file, launch, two_betas, worker
from tests.backend.test_compare import trained
from tests.backend.test_compare_report import report

__all__ = ["address", "copg", "file", "worker"]
WHY = "is a reward model, which scores what others write and trains no policy."


def judge(bench: Bench, name: str = "judge") -> str:
    answer = bench.client.post(f"{API}/runs", json={"config": {"algorithm": "reward_model"}, "name": name})
    return str(answer.json()["id"])


def test_reward_models_of_a_selection_are_named(bench: Bench) -> None:
    runs = [trained(bench, 1.0, beta=0.1), trained(bench, 3.0, beta=1.0)]
    assert bench.get("/compare", run=runs)["left_out"] is None
    chosen = [runs[0], judge(bench, "a <b>judge</b>"), runs[1]]
    seen = bench.get("/compare", run=chosen)
    assert [run["id"] for group in seen["groups"] for run in group["runs"]] == runs
    assert seen["left_out"] == f"Not compared: 'a <b>judge</b>' {WHY}"
    assert bench.get("/compare", run=runs)["left_out"] is None, "the same groups, and nothing else was chosen"
    read = report(bench, run=chosen)
    assert seen["left_out"] in " ".join(read.words)
    assert all(f"run={uid}" in next(link for link in read.links if "compare?" in link) for uid in chosen)
    assert "Not compared" not in " ".join(report(bench, run=runs).words)


def test_a_shared_parent_of_a_sweep_is_named_where_it_was_chosen_itself(bench: Bench) -> None:
    config: dict[str, Any] = {"algorithm": "copg", "steps": 100}
    spec = {"name": "shared", "config": config, "grid": {"beta": [0.1, 1.0]}, "sft": {}, "reward_model": {}}
    answer = bench.client.post(f"{API}/sweeps", json=spec)
    assert answer.status_code == 201, answer.text
    sweep = answer.json()["id"]
    assert bench.get("/compare", sweep=sweep)["left_out"] is None
    runs = [one["run"] for one in bench.get(f"/sweeps/{sweep}/members")["items"]] + bench.get(f"/sweeps/{sweep}")[
        "parents"
    ]
    seen = bench.get("/compare", run=[run["id"] for run in runs])
    name = next(run["name"] for run in runs if run["algorithm"] == "reward_model")
    assert seen["left_out"] == f"Not compared: {name!r} {WHY}"
    assert len(seen["groups"]) == 3, "an SFT run trains a policy"


def test_many_are_counted() -> None:
    assert left_out([]) is None
    assert (
        left_out(["a", "b"])
        == "Not compared: 'a', 'b' are reward models, which score what others write and train no policy."
    )
    assert "'19' and 5 more are reward models" in (left_out([str(number) for number in range(25)]) or "")


def test_commands_say_it_beside_what_they_write(copg: Copg, file: Path, worker: Bench, tmp_path: Path) -> None:
    runs = two_betas(copg, file, worker)
    file.write_text('algorithm = "reward_model"')
    model = launch(copg, file, "--name", "judge")
    told = f"Not compared: 'judge' {WHY}\n"
    assert told not in copg("figure", "reward", *runs, "--format", "csv").stderr
    drawn = copg("figure", "reward", *runs, model, "--format", "json")
    assert (told in drawn.stderr, "figure" in json.loads(drawn.stdout)) == (True, True)
    target = str(tmp_path / "report.html")
    assert told in copg("report", *runs, model, "-o", target).stderr
    assert told in copg("report", *runs, model).stderr
