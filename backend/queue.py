"""The Celery application: a message is a wake-up that carries a run's id, nothing more. SQL is the truth.

Why each setting: docs/architecture.md, "The row is the job". Early acknowledgement and no prefetch, because a message has
done its work once a worker has looked at the row; no result backend, because the row is the result.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from celery import Celery
from kombu import Exchange, Queue

from backend.settings import Settings

TASK = "copg.run"
_log = logging.getLogger(__name__)


def celery_app(settings: Settings) -> Celery:
    """The application of workers and of whoever sends to them. Connects to nothing yet."""
    app = Celery("copg", broker=broker_url(settings), set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_acks_late=False,
        task_default_queue=settings.queue,
        task_publish_retry=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "socket_timeout": 10,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "visibility_timeout": 3600,
        },
    )
    return app


def broker_url(settings: Settings) -> str:
    """The broker in Celery's spelling: Valkey speaks Redis' protocol, and a socket is `redis+socket://`."""
    url = settings.effective_broker_url or "redis://127.0.0.1:6379/0"
    for ours, celerys in (("valkey://", "redis://"), ("valkeys://", "rediss://"), ("unix://", "redis+socket://")):
        if url.startswith(ours):
            return celerys + url.removeprefix(ours)
    return url


def node_queue(worker: str) -> str:
    """The queue that one worker alone reads: placement has decided who gets a run before its wake-up is sent."""
    return "node." + re.sub(r"[^A-Za-z0-9_-]", "-", worker)


def declared(name: str) -> Queue:
    """A queue as sender and worker must declare it alike; what a dead worker left in its own is forgotten in an hour."""
    return Queue(name, Exchange(name), routing_key=name, expires=3600 if name.startswith("node.") else None)


def send_hint(app: Celery, uid: str, queue: str) -> bool:
    """Wake the worker of `queue` up for a run. A broker that is away costs time, not the run: the loop sends again."""
    try:
        app.send_task(TASK, args=(uid,), queue=declared(queue), retry=False)
    except Exception as error:  # noqa: BLE001 - kombu lets errors of every transport through
        _log.warning("wake-up for run %s not sent: %s", uid, error)
        return False
    return True


def ping(app: Celery) -> bool:
    """Whether the broker answers."""
    try:
        with app.connection_for_write(connect_timeout=1.0) as connection:
            connection.ensure_connection(max_retries=0, timeout=1.0)
            client: Any = getattr(connection.default_channel, "client", None)
            return client is None or bool(client.ping())
    except Exception:  # noqa: BLE001 - as above
        return False
