"""Our tables behind the calls of store_calls.py, and the runs that all of them are given.

Points through the functions that workers and routes call. Lists are the whole request but for the socket (conditions, rows, validation, JSON),
which is more than what the others' store classes do.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient

from backend import metrics, runs
from backend.database import Database
from backend.main import create_app
from backend.migrations import upgrade
from backend.settings import Settings
from benchmarks.side_by_side import store_calls
from copg_core.config import CopgConfig


def runs_of_all(count: int) -> list[dict[str, Any]]:
    """`count` CoPG runs, each with its own learning rate and beta, whole configurations as path to value."""
    random = np.random.default_rng(0)
    made = []
    for number in range(count):
        rate = float(10 ** random.uniform(-7, -4))
        config = {"beta": 0.003 * 1.005**number, "seed": number, "optimizer": {"learning_rate": rate}}
        whole = CopgConfig.model_validate(config).model_dump(mode="json")
        made.append(
            {
                "name": f"member {number}", "config": dict(_flat("", whole)), "given": config,
                "paper": number % 2 == 1, "last_reward": float(random.normal()),
            }
        )  # fmt: skip
    return made


def _flat(path: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [one for key, inner in value.items() for one in _flat(f"{path}.{key}" if path else key, inner)]
    return [(path, json.dumps(value) if isinstance(value, list) else value)]


class Ours:
    fewest = 400

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{folder / 'ours.sqlite3'}"
        upgrade(url)
        self.database = Database(url)
        self.client = TestClient(create_app(Settings(database_url=url)), "http://127.0.0.1:8000")
        self.ids: dict[str, int] = {}

    def make_runs(self, runs_given: Sequence[dict[str, Any]]) -> None:
        for run in runs_given:
            with self.database.transaction() as session:
                config = CopgConfig.model_validate(run["given"])
                row = runs.create(session, config, name=run["name"], tags=["paper"] if run["paper"] else [])
                row.last_reward = run["last_reward"]
                self.ids[run["name"]] = row.id

    def write(self, run: str, steps: range) -> None:
        with self.database.transaction() as session:
            metrics.append(session, self.ids[run], {step: {"loss": float(step)} for step in steps})

    def read(self, run: str) -> int:
        return self._curve(run, 1_000_000)

    def thinned(self, runs: Sequence[str]) -> list[int]:
        return [self._curve(run, store_calls.THINNED) for run in runs]

    def _curve(self, run: str, most: int) -> int:
        with self.database.snapshot() as session:
            [(steps, _)] = metrics.curve(session, self.ids[run], ["loss"], max_points=most).values()
        return len(steps)

    def newest(self) -> list[str]:
        return self._list({})

    def conditions(self) -> list[str]:
        where = ["config.beta>=0.03", "config.optimizer.learning_rate<1e-5", "tags=paper"]
        return self._list({"where": where, "sort": "-config.beta"})

    def by_rate(self) -> list[str]:
        return self._list({"sort": "config.optimizer.learning_rate"})

    def _list(self, query: dict[str, Any]) -> list[str]:
        answer = self.client.get("/api/v1/runs", params={"limit": store_calls.PAGE, **query})
        assert answer.status_code == 200, answer.text
        return [item["name"] for item in answer.json()["items"]]
