"""One round of torture: a plan, a studio, chaos, a person; then the checks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from backend.models import Run, RunEvent
from tests.torture import checks
from tests.torture.chaos import Chaos
from tests.torture.person import Person, plan
from tests.torture.servers import Postgres
from tests.torture.studio import ROOT, Studio


@dataclass
class Result:
    """What happened. `problems` is empty where everything that must be true is."""

    problems: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


def train_undisturbed(folder: Path) -> dict[str, Any]:
    """What each recipe gives where nothing goes wrong."""
    folder.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "tests.torture.undisturbed", str(folder)]
    subprocess.run(command, check=True, cwd=ROOT, env=environment)
    return dict(json.loads((folder / "undisturbed.json").read_text()))


def torture(
    folder: Path,
    postgres: Postgres | None,
    undisturbed: dict[str, Any],
    *,
    seed: int,
    runs: int,
    pace: float,
    pause: tuple[float, float],
    slots: int,
    limit: float,
    faults: int | None = None,
) -> Result:
    """`pace`: longest pause between two launches; `pause`: between two faults; `limit`: seconds until runs count as stuck;
    `faults`: peace returns after so many, or only when every run has ended."""
    begin = time.monotonic()
    planned = plan(runs, seed, pace)
    studio = Studio(folder, postgres, slots)
    result = Result()
    person = Person(studio, planned, folder)
    chaos = Chaos(studio, seed, pause, faults)
    try:
        studio.start()
        person.start()
        chaos.start()
        try:
            while not person.look_after():
                time.sleep(0.2)
                if time.monotonic() - begin > limit * 0.7:
                    chaos.stop()  # what has not ended by now must end in peace
                assert time.monotonic() - begin < limit, f"not every run has ended after {limit:g} s"
        except AssertionError as error:
            result.problems.append(str(error))
        chaos.stop()
        with studio.database.snapshot() as session:
            result.problems += checks.run_problems(session, planned, undisturbed)
            result.seen = _seen(session, studio)
    finally:
        chaos.stop()
        result.problems += studio.stop() + person.problems + chaos.problems
    if left := [*studio.attempts("guard.py"), *studio.attempts("worker.child")]:
        result.problems.append(f"{len(left)} processes of trainings are left: {left}")
    result.faults, result.seconds = chaos.counts, time.monotonic() - begin
    result.seen.update(person.counts)
    return result


def _seen(session: Any, studio: Studio) -> Counter[str]:
    states = dict(session.execute(select(Run.state, func.count()).group_by(Run.state)).all())
    count = lambda *where: session.scalar(select(func.count()).select_from(RunEvent).where(*where))  # noqa: E731
    return Counter(
        {
            **{f"runs {state}": number for state, number in states.items()},
            "attempts": count(RunEvent.target == "running"),
            "attempts taken from a silent worker": count(RunEvent.reason == "its worker has not been heard of"),
            "attempts handed back by a drained worker": count(RunEvent.reason == "its worker was asked to leave"),
            "attempts whose process was killed": count(RunEvent.reason.startswith("the training process was ended")),
            "attempts from a checkpoint": studio.says("worker", ": training from /"),
            "writes of zombies refused": studio.says("worker", "no longer owns"),
            "waits for the database": studio.says("worker", "for the database") + studio.says("", "does not answer"),
        }
    )
