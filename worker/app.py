"""The worker's Celery application.

    celery -A worker.app worker -P threads -c SLOTS -Q QUEUE --without-gossip --without-mingle --without-heartbeat

Threads, because a supervisor only watches a process; the training itself is a child process. SIGTERM drains: every run
writes a checkpoint and goes back to the queue.
"""

from __future__ import annotations

import logging
from typing import Any

from celery import signals

from backend.queue import celery_app
from backend.settings import Settings
from worker import tasks
from worker.host import Host

settings = Settings.from_environment()
app = celery_app(settings)
host = Host(app, settings)
tasks.register(app, host)


@signals.setup_logging.connect
def _log_to_stderr(**_: Any) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


@signals.worker_ready.connect
def _start(**_: Any) -> None:
    host.start()


@signals.worker_shutting_down.connect
def _drain(**_: Any) -> None:
    host.drain()


@signals.worker_shutdown.connect
def _leave(**_: Any) -> None:
    host.leave()
