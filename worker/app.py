"""The worker's Celery application.

    celery -A worker.app worker -P threads -Q QUEUE --without-gossip --without-mingle --without-heartbeat

As many threads as the machine has slots, and a queue of this worker's own beside the named one. Threads, because a supervisor only watches a process; the training itself is a child process. SIGTERM drains: every run
writes a checkpoint and goes back to the queue.
"""

from __future__ import annotations

from typing import Any

from celery import signals

from backend import logs, telemetry
from backend.processes import conceal
from backend.queue import celery_app, declared, node_queue
from backend.settings import Settings
from worker import tasks
from worker.host import Host

conceal()  # before anything is trained: the database's password stands in this process's environment
settings = Settings.from_environment()
app = celery_app(settings)
host = Host(app, settings)
app.conf.worker_concurrency = host.slots
tasks.register(app, host)


@signals.setup_logging.connect
def _log_to_stderr(**_: Any) -> None:
    logs.configure(settings.log_format, worker=host.name)


@signals.celeryd_after_setup.connect
def _read_own_queue(**_: Any) -> None:
    app.amqp.queues.select_add(declared(node_queue(host.name)))


@signals.worker_ready.connect
def _start(**_: Any) -> None:
    telemetry.serve_worker(settings.metrics_port)
    host.start()


@signals.worker_shutting_down.connect
def _drain(**_: Any) -> None:
    host.drain()


@signals.worker_shutdown.connect
def _leave(**_: Any) -> None:
    host.leave()
