"""A studio's back rooms for tests: a broker, a reconcile loop in this process, real Celery workers that can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from sqlalchemy import select

from backend import broker, runs
from backend.database import Database
from backend.models import Evaluation, Metric, MetricPoint, Node, Run, Sample
from backend.queue import celery_app, send_hint
from backend.reconcile import Reconciler
from backend.settings import Settings
from copg_core.config import RunConfig

ROOT = Path(__file__).resolve().parents[2]


class Stack:
    """`broker_url` empty: the embedded broker, in `folder`."""

    def __init__(self, folder: Path, database_url: str, broker_url: str = "", **options: Any) -> None:
        self.folder = folder
        self.broker: subprocess.Popen[bytes] | None = None
        if not broker_url:
            path = broker.socket_path(folder)
            self.broker = subprocess.Popen(broker.command(folder, path), stdout=subprocess.DEVNULL)
            broker.wait(path, folder / "none")
            broker_url = broker.url(path)
        self.settings = Settings(
            data_dir=str(folder), database_url=database_url, broker_url=broker_url, queue=f"test-{uuid.uuid4().hex[:8]}",
            **({"lease_seconds": 4.0, "grace_seconds": 30.0, "tick_seconds": 0.1} | options),
        )  # fmt: skip
        self.database = Database(database_url)
        self.app = celery_app(self.settings)
        self.reconciler = Reconciler(self.database, self.settings, lambda uid, queue: send_hint(self.app, uid, queue))
        self.reconciler.start()
        self.workers: list[subprocess.Popen[bytes]] = []

    def worker(self, **changes: Any) -> subprocess.Popen[bytes]:
        """Start one more worker, and wait until the database knows it."""
        name = uuid.uuid4().hex
        settings = replace(self.settings, worker_name=name, **changes)
        variables = {f"COPG_{item.name.upper()}": str(getattr(settings, item.name)) for item in fields(settings)}
        with (self.folder / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "worker.app", "worker", "-P", "threads", "-Q",
                 settings.queue, "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"],
                env={**os.environ, **variables, "OMP_NUM_THREADS": "1"}, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        self.workers.append(process)

        def known() -> bool:
            with self.database.snapshot() as session:
                return session.scalar(select(Node.id).where(Node.name == name)) is not None

        self.until(known)
        return process

    def new(self, config: RunConfig, name: str | None = None) -> Run:
        with self.database.transaction() as session:
            run = runs.create(session, config, name=name, queue=self.settings.queue)
        self.reconciler.wake()
        return run

    def now(self, run: Run) -> Run:
        with self.database.snapshot() as session:
            return runs.get(session, run.uid)

    def until(self, condition: Callable[[], bool], seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "waited in vain:\n" + (self.folder / "worker.log").read_text()[-3000:]
            time.sleep(0.02)

    def ended(self, run: Run) -> Run:
        self.until(lambda: self.now(run).state in ("succeeded", "failed", "cancelled"))
        found = self.now(run)
        log = self.settings.runs_path / run.uid / "log.txt"
        assert found.state == "succeeded", f"{found.error}\n{log.read_text()[-3000:] if log.exists() else ''}"
        return found

    def recorded(self, run: Run) -> dict[str, Any]:
        """Everything about a run that must not depend on when, where and in how many attempts it was trained."""
        timed = ("per_second", "seconds")
        with self.database.snapshot() as session:
            points = session.execute(
                select(Metric.name, MetricPoint.step, MetricPoint.value)
                .join(Metric, Metric.id == MetricPoint.metric_id)
                .where(MetricPoint.run_id == run.id)
            ).all()
            evaluations = session.scalars(select(Evaluation).where(Evaluation.run_id == run.id)).all()
            samples = session.scalars(select(Sample).where(Sample.run_id == run.id)).all()
        return {
            "points": {(name, step): value for name, step, value in points if not name.endswith(timed)},
            "evaluations": {
                one.step: [
                    one.n,
                    one.reward_mean,
                    one.kl,
                    one.length_mean,
                    one.gold_mean,
                    *(item for item in sorted(one.values.items()) if not item[0].endswith(timed)),
                ]
                for one in evaluations
            },
            "samples": {(one.step, one.prompt_index): (one.completion, one.reward, one.kl) for one in samples},
        }

    def close(self) -> None:
        self.reconciler.stop()
        for process in self.workers:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.workers:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.app.close()
        self.database.close()
        if self.broker is not None:
            self.broker.terminate()
            self.broker.wait(30)
