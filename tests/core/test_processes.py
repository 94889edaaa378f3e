"""Several processes, whole replicas or divided weights, give the numbers of one process. On the CPU, over gloo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from copg_core.config import RunConfig
from copg_core.errors import RewardError
from copg_core.processes import Processes
from copg_core.train import Outcome
from tests.core.conftest import Remembering, StopAfter, config_of, run, weights

pytestmark = pytest.mark.slow

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
DRIVER = """
import json, sys, warnings
from pathlib import Path
import torch
from copg_core.__main__ import main
from copg_core.config import parse_config
from copg_core.train import train
torch.set_num_threads(1)
warnings.simplefilter("ignore")

class Recorder:
    def __init__(self, stop_after):
        self.events, self.stop, self.stop_after = [], False, stop_after
    def record(self, event):
        self.events.append(event.model_dump(mode="json"))
        self.stop |= event.event == "metrics" and event.step == self.stop_after

for name, job in json.loads(Path(sys.argv[1]).read_text()).items():
    recorder, folder = Recorder(job["stop_after"]), Path(sys.argv[2]) / name
    resume = Path(job["resume_from"]) if job["resume_from"] else None
    train(parse_config(job["config"]), recorder, lambda: recorder.stop, folder=folder, resume_from=resume)
    if recorder.events:  # the main process alone is told
        with (folder / "events.json").open("x") as file:
            json.dump(recorder.events, file)
sys.exit(main(["train", sys.argv[3]]))
"""
COMMAND = """
algorithm = "sft"
steps = 1
batch_size = 4
data = { kind = "task", train_size = 16, validation_size = 8 }
evaluation = { every = 50, prompts = 2, generation = { max_new_tokens = 2 } }
"""
SHORT: dict[str, Any] = {
    "steps": 3,
    # What float32 rounds must stay below what is compared: log-probabilities of -300 are rounded to 3e-5, those of six tokens
    # to a tenth of that; and Adam blows the noise of gradients near zero up to whole steps, unless epsilon is above it.
    "max_completion_tokens": 6,
    "optimizer": {"learning_rate": 1e-4, "epsilon": 1e-3},
    "evaluation": {"every": 3, "prompts": 6, "generation": {"max_new_tokens": 5, "batch_size": 2}},
    "checkpoints": {"every": 2},
}
# How much padding there is depends on how rows are grouped. So close to the start a correlation with log-ratios of a
# thousandth of a nat shows their float32 noise.
OWN = {"padding_share"}
BLURRED = {"contrast_alignment": 1e-3}
# Where every row is a micro-batch of its own, float32 noise of another grouping does not blur what is compared.
JOBS: dict[str, RunConfig] = {
    "replicas": config_of("copg", **SHORT),
    "uneven": config_of("sft", batch_size=5, micro_batch_tokens=40, **SHORT),
    "divided": config_of("copg", sharding="full", micro_batch_tokens=16, **SHORT),
    "lonely_row": config_of("dpo", batch_size=1, sharding="full", **SHORT),
    # Of six tokens a pair may have the same ones, and rounding would say which is better.
    "reward_model": config_of("reward_model", sharding="full", batch_size=5, **SHORT | {"max_completion_tokens": 128}),
    "adapters": config_of(
        "copg",
        sharding="full",
        micro_batch_tokens=16,
        lora={"enabled": True, "rank": 2},
        **SHORT | {"optimizer": {"learning_rate": 1e-5, "epsilon": 1e-3}},
    ),
    "rounded": config_of("copg", sharding="full", micro_batch_tokens=16, dtype="bfloat16", **SHORT),
    "stopped": config_of("copg", sharding="full", **SHORT),
    "resumed": config_of("copg", sharding="full", **SHORT),
}


def launch(jobs: dict[str, dict[str, Any]], folder: Path) -> str:
    """Run the jobs one after another in two processes; what they printed."""
    (folder / "jobs.json").write_text(json.dumps(jobs))
    (folder / "driver.py").write_text(DRIVER)
    (folder / "command.toml").write_text(COMMAND)
    done = subprocess.run(
        [*LAUNCH, str(folder / "driver.py"), str(folder / "jobs.json"), str(folder), str(folder / "command.toml")],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())},
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stderr


class Twice:
    """What two processes did, beside what one did."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.alone = {
            name: run(config, folder / "alone" / name)
            for name, config in JOBS.items()
            if name not in ("stopped", "resumed")
        }
        stop = StopAfter(2)
        run(JOBS["resumed"], folder / "alone" / "cut", recorder=Remembering(stop.see), should_stop=stop)
        jobs: dict[str, dict[str, Any]] = {
            name: {"config": config.model_dump(mode="json"), "stop_after": None, "resume_from": None}
            for name, config in JOBS.items()
        }
        jobs["stopped"]["stop_after"] = 2
        jobs["resumed"]["resume_from"] = str(folder / "alone" / "cut" / "checkpoints" / "step-2")
        self.said = launch(jobs, folder)

    def events(self, name: str, kind: str) -> list[dict[str, Any]]:
        events = json.loads((self.folder / name / "events.json").read_text())
        return [event for event in events if event["event"] == kind]


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Twice:
    return Twice(tmp_path_factory.mktemp("twice"))


@pytest.mark.parametrize("name", ["replicas", "uneven", "divided", "lonely_row", "reward_model", "adapters", "rounded"])
def test_two_processes_give_the_numbers_of_one(name: str, twice: Twice) -> None:
    rounded = name == "rounded"
    alone, outcome = twice.alone[name]
    steps = twice.events(name, "metrics")
    assert [event["step"] for event in steps] == [1, 2, 3]
    # In bfloat16 sums of gradients differ in the third digit, and what comes after the first step with them.
    for mine, theirs in zip(alone.of("metrics")[: 1 if rounded else 3], steps[: 1 if rounded else 3], strict=True):
        assert mine.values.keys() == theirs["values"].keys()
        for metric, value in mine.values.items():
            if metric not in OWN and "per_second" not in metric and "utilisation" not in metric:
                noise = 2e-2 if rounded and metric == "gradient_norm" else BLURRED.get(metric, 1e-5)
                assert theirs["values"][metric] == pytest.approx(value, rel=noise, abs=noise), metric
    for mine, theirs in zip(alone.of("evaluation"), twice.events(name, "evaluation"), strict=True):
        assert theirs["n"] == mine.n
        if rounded:
            continue
        for metric in ("reward_mean", "gold_mean", "kl", "length_mean", "unfinished_share"):
            assert theirs[metric] == pytest.approx(getattr(mine, metric), abs=1e-4), metric
        assert [sample["completion"] for sample in theirs["samples"]] == [sample.completion for sample in mine.samples]
        assert theirs["values"]["validation_loss"] == pytest.approx(mine.values["validation_loss"], rel=1e-5, abs=1e-5)
    trained, of_two = weights(outcome), weights(Outcome(True, 3, twice.folder / name / "output"))
    assert of_two.keys() == trained.keys()
    for key, tensor in trained.items():
        torch.testing.assert_close(of_two[key], tensor, rtol=0, atol=1e-3 if rounded else 1e-5)


def test_a_checkpoint_of_two_processes_goes_on_with_one_and_the_other_way_round(twice: Twice, tmp_path: Path) -> None:
    whole = twice.events("divided", "metrics")[2]["values"]["loss"]
    assert [event["step"] for event in twice.events("stopped", "checkpoint")] == [2]
    checkpoint = twice.folder / "stopped" / "checkpoints" / "step-2"
    one, _ = run(JOBS["stopped"], tmp_path, resume_from=checkpoint)
    assert one.losses() == {3: pytest.approx(whole, rel=1e-5, abs=1e-5)}
    (two,) = twice.events("resumed", "metrics")
    assert two["step"] == 3
    assert two["values"]["loss"] == pytest.approx(whole, rel=1e-5, abs=1e-5)


def test_the_command_runs_under_a_launcher_and_one_process_speaks(twice: Twice) -> None:
    assert (twice.folder / "command" / "output" / "run.json").is_file()
    assert twice.said.count("sft: ") == 1


def test_weights_were_really_divided(twice: Twice) -> None:
    """A sharded run on one process is not divided; on two it must have gone through FSDP2's layers."""
    model = json.loads((twice.folder / "divided" / "output" / "config.json").read_text())
    assert model["architectures"] == ["LlamaForCausalLM"], "what is saved must not carry the name of a sharded class"
    assert [e["values"]["divided_over"] for e in twice.events("divided", "report") if e["section"] == "model"] == [2]
    assert [e["values"]["divided_over"] for e in twice.events("replicas", "report") if e["section"] == "model"] == [1]


def test_what_processes_tell_each_other_when_there_is_only_one() -> None:
    alone = Processes(torch.device("cpu"))
    assert alone.share([1, 2, 3]) == [1, 2, 3]
    assert alone.gather("a") == ["a"]
    assert alone.agree(True)
    assert not alone.agree(False)
    assert alone.from_main(lambda: 3) == 3
    assert Processes(torch.device("cpu"), rank=1, count=2).share([1, 2, 3]) == [2]

    def fails() -> None:
        raise RewardError("no")

    with pytest.raises(RewardError):
        alone.from_main(fails)
