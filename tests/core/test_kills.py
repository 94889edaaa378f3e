"""Kill -9 at the worst moments: what is resumed equals what was never interrupted, to the last bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from copg_core.checkpoints import latest_checkpoint
from copg_core.train import Outcome
from tests.core.conftest import Remembering, config_of, identical, run, weights

CONFIG = config_of("copg", evaluation={"every": 3, "prompts": 4, "generation": {"max_new_tokens": 5, "batch_size": 2}})
# The moment, and the step of the checkpoint that must be found after it.
MOMENTS = {
    "in_a_step": 4,
    "in_an_update": 4,
    "in_a_file_of_a_checkpoint": 2,
    "before_the_rename": 2,
    "after_the_rename": 4,
    "in_an_evaluation": 2,
}
# One process imports everything; each moment gets a child of its own that is killed.
DRIVER = """
import json, os, signal, sys
from pathlib import Path
import torch
from copg_core import checkpoints, evaluate
from copg_core.config import parse_config
from copg_core.precision import MasterWeights
from copg_core.train import train
from copg_core.update import Updater
torch.set_num_threads(1)

def at_call(number, place, name, before=None, after=None):
    honest, calls = getattr(place, name), [0]
    def counting(*arguments, **settings):
        calls[0] += 1
        if calls[0] != number:
            return honest(*arguments, **settings)
        if before:
            before()
        result = honest(*arguments, **settings)
        after(*arguments)
        return result
    setattr(place, name, counting)

def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

def cut_and_die(tensors, path):
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)
    die()

HOOKS = {
    "in_a_step": lambda: at_call(5, Updater, "_accumulate", after=die),
    "in_an_update": lambda: at_call(5, MasterWeights, "update", after=die),
    "in_a_file_of_a_checkpoint": lambda: at_call(5, checkpoints, "save_file", after=cut_and_die),
    "before_the_rename": lambda: at_call(2, checkpoints, "publish", before=die),
    "after_the_rename": lambda: at_call(2, checkpoints, "publish", after=die),
    "in_an_evaluation": lambda: at_call(2, evaluate, "generate", after=die),
}

class Recorder:
    def __init__(self, path):
        self.file = path.open("w")
    def record(self, event):
        print(event.model_dump_json(), file=self.file, flush=True)

config = parse_config(json.loads(sys.argv[1]))
for moment in sys.argv[3:]:
    child = os.fork()
    if not child:
        folder = Path(sys.argv[2]) / moment
        folder.mkdir()
        HOOKS[moment]()
        train(config, Recorder(folder / "events"), folder=folder)
        os._exit(0)
    print(moment, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    folder = tmp_path_factory.mktemp("killed")
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, CONFIG.model_dump_json(), str(folder), *MOMENTS],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return folder, {name: int(code) for name, code in map(str.split, done.stdout.splitlines())}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Remembering, Outcome]:
    return run(CONFIG, tmp_path_factory.mktemp("whole"))


def evaluations(events: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """By step, without the times."""
    found = {}
    for event in events:
        if event["event"] == "evaluation":
            values = {name: value for name, value in event["values"].items() if "second" not in name}
            found[event["step"]] = event | {"values": {name: v for name, v in values.items() if "share" not in name}}
    return found


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_resumed_equals_uninterrupted(
    moment: str, killed: tuple[Path, dict[str, int]], whole: tuple[Remembering, Outcome]
) -> None:
    folder, codes = killed[0] / moment, killed[1]
    assert codes[moment] == -signal.SIGKILL
    checkpoint = latest_checkpoint(folder / "checkpoints")
    assert checkpoint == folder / "checkpoints" / f"step-{MOMENTS[moment]}"
    before = [json.loads(line) for line in (folder / "events").read_text().splitlines()]
    resumed, outcome = run(CONFIG, folder, resume_from=checkpoint)
    events = before + [json.loads(event.model_dump_json()) for event in resumed.events]
    losses = {event["step"]: event["values"]["loss"] for event in events if event["event"] == "metrics"}
    assert losses == whole[0].losses()
    expected = [json.loads(event.model_dump_json()) for event in whole[0].events]
    assert evaluations(events) == evaluations(expected)
    assert identical(weights(outcome), weights(whole[1]))
