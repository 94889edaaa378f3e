"""Offline pairs, fresh pairs and mixtures on the built-in task, at the same number of steps.

    python experiments/online.py FOLDER [--seeds 3] [--steps 100]

Trains one small Llama by SFT (350 steps), then CoPG against the task's gold reward from it, once for each source of completions
and seed. Prints the gold reward, its standard error over prompts, KL and the time, one JSON object a line; runs that are finished
in FOLDER are not made again. Minutes for each run on one core.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from copg_core.config import parse_config
from copg_core.events import Evaluation, Event, Metrics
from copg_core.train import train

SOURCES: dict[str, dict[str, Any]] = {
    "offline": {},
    "on-policy": {"first": "policy", "second": "policy"},
    "policy and replay": {"first": "policy", "second": "replay"},
    "half on-policy": {"first": "policy", "second": "policy", "share": 0.5},
    "data and policy": {"first": "data", "second": "policy"},
}
COMMON: dict[str, Any] = {
    "max_prompt_tokens": 96,
    "max_completion_tokens": 32,
    "evaluation": {"every": 50, "prompts": 256, "generation": {"max_new_tokens": 32, "batch_size": 128}},
    "checkpoints": {"every": 100, "keep": 1},
}


class Listener:
    """Keeps the evaluations and adds up the seconds of generation."""

    def __init__(self) -> None:
        self.evaluations: list[Evaluation] = []
        self.generation = 0.0

    def record(self, event: Event) -> None:
        if isinstance(event, Evaluation):
            self.evaluations.append(event)
        if isinstance(event, Metrics):
            self.generation += event.values.get("generation_seconds") or 0.0


def sft(folder: Path) -> Path:
    """The policy that everything starts from."""
    if not (folder / "output" / "run.json").is_file():
        data = {"kind": "task", "train_size": 16_000, "validation_size": 512}
        optimizer = {"learning_rate": 3e-3, "schedule": "cosine"}
        policy = {"kind": "preset", "size": "nano"}
        stage = {
            "algorithm": "sft",
            "policy": policy,
            "data": data,
            "optimizer": optimizer,
            "steps": 350,
            "batch_size": 64,
        }
        train(parse_config(COMMON | stage), Listener(), folder=folder)
    return folder / "output"


def copg(folder: Path, start: Path, sampling: dict[str, Any], seed: int, steps: int) -> dict[str, Any]:
    """One run from the policy `start`, and what its evaluations say."""
    listener = Listener()
    started = time.perf_counter()
    config = {
        "algorithm": "copg",
        "beta": 0.5,
        "seed": seed,
        "policy": {"kind": "run", "run": str(start)},
        "data": {"kind": "task", "train_size": 1_024, "validation_size": 512, "seed": seed},
        "optimizer": {"learning_rate": 3e-4, "schedule": "cosine"},
        "steps": steps,
        "batch_size": 32,
        "sampling": sampling | {"max_new_tokens": 32, "batch_size": 128},
    }
    train(parse_config(COMMON | config), listener, folder=folder)
    return {
        "steps": [each.step for each in listener.evaluations],
        "gold": [each.gold_mean for each in listener.evaluations],
        "stderr": [each.values["gold_stderr"] for each in listener.evaluations],
        "kl": [each.kl for each in listener.evaluations],
        "unfinished": [each.unfinished_share for each in listener.evaluations],
        "seconds": time.perf_counter() - started,
        "generation_seconds": listener.generation,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100)
    arguments = parser.parse_args()
    start = sft(arguments.folder / "sft")
    for seed in range(arguments.seeds):
        for name, sampling in SOURCES.items():
            folder = arguments.folder / f"{name.replace(' ', '-')}-{seed}"
            result = folder / "result.json"
            if not result.is_file():
                result.parent.mkdir(parents=True, exist_ok=True)
                result.write_text(json.dumps(copg(folder, start, sampling, seed, arguments.steps)))
            line = {"source": name, "seed": seed, **json.loads(result.read_text())}
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
