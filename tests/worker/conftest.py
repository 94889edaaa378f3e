"""A worker host with the stand-in trainer, and runs for it."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from backend import runs
from backend.database import Database
from backend.models import Evaluation, MetricPoint, Run
from backend.queue import celery_app
from backend.settings import Settings
from copg_core.config import SFTConfig
from copg_core.recipe import Checkpoints
from copg_core.sources import PresetModel
from worker.host import Host


class Bench:
    """Runs of the stand-in trainer on one database, executed by hosts in this process."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database, self.settings = database, settings
        self.hosts: list[Host] = []
        self.threads: list[threading.Thread] = []

    def host(self) -> Host:
        host = Host(celery_app(self.settings), self.settings, train="fake_train:train")
        self.hosts.append(host)
        return host

    def new(self, steps: int = 20, checkpoints: dict[str, Any] | None = None, **behave: Any) -> Run:
        plan = Checkpoints(**(checkpoints or {}))
        config = SFTConfig(steps=steps, checkpoints=plan, policy=PresetModel(tokenizer=json.dumps(behave)))
        with self.database.transaction() as session:
            return runs.create(session, config)

    def execute(self, run: Run, host: Host | None = None) -> Run:
        (host or self.host()).execute(run.uid)
        return self.now(run)

    def start(self, run: Run, host: Host | None = None) -> threading.Thread:
        thread = threading.Thread(target=(host or self.host()).execute, args=(run.uid,))
        thread.start()
        self.threads.append(thread)
        return thread

    def now(self, run: Run) -> Run:
        with self.database.snapshot() as session:
            return runs.get(session, run.uid)

    def until(self, run: Run, condition: Callable[[Run], bool], seconds: float = 60) -> Run:
        deadline = time.monotonic() + seconds
        while not condition(found := self.now(run)):
            assert time.monotonic() < deadline, f"waited in vain: {found.state}, step {found.step}, {found.error}"
            time.sleep(0.05)
        return found

    def steps(self, run: Run) -> list[int]:
        with self.database.snapshot() as session:
            query = select(MetricPoint.step).where(MetricPoint.run_id == run.id).order_by(MetricPoint.step)
            return list(session.scalars(query))

    def evaluations(self, run: Run) -> list[int]:
        with self.database.snapshot() as session:
            query = select(Evaluation.step).where(Evaluation.run_id == run.id).order_by(Evaluation.step)
            return list(session.scalars(query))

    def close(self) -> None:
        for host in self.hosts:
            host.drain()
        for thread in self.threads:
            thread.join(timeout=60)
        for host in self.hosts:
            host._database.close()


@pytest.fixture
def bench(database: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])]))
    monkeypatch.setenv("COPG_DATABASE_URL", database_url)
    settings = Settings(
        data_dir=str(tmp_path / "data"), database_url=database_url, broker_url="redis://127.0.0.1:1/0",
        lease_seconds=20, grace_seconds=20,
    )  # fmt: skip
    bench = Bench(database, settings)
    yield bench
    bench.close()
