"""A stand-in for copg_core.train that counts: deterministic, with whole checkpoints, and misbehaving where told to.

The run's notes cannot reach it, so the behaviour is in the environment-free place that does: the file `behave.json` in the
run's folder, and the number of steps in the configuration.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copg_core.config import RunConfig
from copg_core.errors import RewardError
from copg_core.events import CheckpointSaved, Evaluation, Finished, Metrics, Recorder, Report, Sample, Stage, Started

_LOOKED_FOR = ("COPG_DATABASE_URL", "COPG_BROKER_URL", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "COPG_RUN")


@dataclass(frozen=True)
class Outcome:
    finished: bool


def train(
    config: RunConfig,
    recorder: Recorder,
    should_stop: Callable[[], bool],
    *,
    folder: Path,
    resume_from: Path | None = None,
    **_: Any,
) -> Outcome:
    behave = json.loads(config.policy.tokenizer or "{}")  # a preset's tokenizer name is free text
    step = json.loads((resume_from / "state.json").read_text())["step"] if resume_from else 0
    recorder.record(Stage(name="loading"))
    recorder.record(Started(step=step, total_steps=config.steps or 0))
    seen = {name: name in os.environ for name in _LOOKED_FOR}
    recorder.record(Report(section="environment", values=seen))
    recorder.record(Report(section="attempt", values={"from": step}))
    if behave.get("ranks"):  # a launcher whose ranks have sessions of their own
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)

    def save() -> None:
        path = folder / "checkpoints" / f"step-{step}"
        path.mkdir(parents=True, exist_ok=True)
        (path / "state.json").write_text(json.dumps({"step": step}))
        recorder.record(CheckpointSaved(step=step, path=str(path), bytes=1))

    while step < (config.steps or 0):
        step += 1
        time.sleep(behave.get("seconds", 0.01))
        recorder.record(Metrics(step=step, values={"loss": 1 / step}))
        if step % 5 == 0:
            sample = Sample(prompt_index=0, prompt="p\0", completion="c", reward=0.1 * step, length=1, finished=True)
            reward = 0.0 if step in behave.get("worst", ()) else 0.1 * step
            recorder.record(Evaluation(step=step, n=1, reward_mean=reward, samples=(sample,)))
        if behave.get("reward_error") == step:
            raise RewardError("the reward is NaN")
        if behave.get("bug") == step:
            raise ZeroDivisionError("oh")
        if behave.get("suicide") == step and not (resume_from and behave.get("once")):
            os.kill(os.getpid(), signal.SIGKILL)
        if behave.get("deaf") == step:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            recorder.record(Report(section="deaf", values={"now": True}))
            time.sleep(600)
        if should_stop():
            save()
            return Outcome(finished=False)
        if step % 10 == 0:
            save()
    output = folder / "output"
    output.mkdir(parents=True, exist_ok=True)
    if "output" in behave:
        (output / "model.txt").write_text(behave["output"])
    recorder.record(Finished(step=step, output=str(output)))
    return Outcome(finished=True)
