"""The one task: a message says that a run may be due."""

from __future__ import annotations

from celery import Celery

from backend.queue import TASK
from worker.host import Host


def register(app: Celery, host: Host) -> None:
    """Let `app` answer wake-ups with `host`."""

    @app.task(name=TASK)
    def run(uid: str) -> None:
        host.execute(uid)
