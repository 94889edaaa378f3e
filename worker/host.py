"""What one worker process is: its name, its slots and GPUs, its heartbeat, and its way out.

A machine with GPUs trains one run on each, or one on several, and beside them as many on its processor as
COPG_CPU_SLOTS says. A machine without has COPG_SLOTS slots.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
import uuid
from importlib.metadata import PackageNotFoundError, version

from celery import Celery
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend import claims, dispatch, gpu_history, nodes
from backend.database import Database
from backend.queue import send_hint
from backend.retention import Leftovers
from backend.settings import Settings
from copg_core.config import CONFIG_SCHEMA
from copg_core.trial_config import TRIAL_SCHEMA
from worker import child, orphans
from worker.devices import devices, first_gpus, read_gpus
from worker.persist import attempt
from worker.supervisor import Supervisor

_log = logging.getLogger(__name__)
_LISTEN_SECONDS = 1.0  # for somebody who asks this worker to leave


class Host:
    """Executes runs for a Celery worker. Thread-safe: each slot is a thread that calls `execute`."""

    def __init__(self, app: Celery, settings: Settings, *, train: str = child.TRAIN) -> None:
        self._app, self._settings, self._train = app, settings, train
        self._database = Database(settings.effective_database_url)
        self.name = settings.worker_name or f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"
        self.draining = threading.Event()
        self._gpus = first_gpus()
        self.cpu_slots = settings.cpu_slots if self._gpus else settings.slots
        self.slots = len(self._gpus) + self.cpu_slots
        self._left = threading.Event()
        self._known = False  # to the queue, as the process that it is
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._leftovers = Leftovers(self._database, settings)

    def start(self) -> None:
        """Clear away what a dead predecessor left on this machine, then be known to the queue."""
        if killed := orphans.sweep_abandoned():
            _log.warning("killed %d processes of attempts whose supervisor is dead", killed)
        self.beat()  # known before the first wake-up can come
        self._heart.start()
        self._leftovers.start()

    def drain(self) -> None:
        """Take nothing new; every run writes a checkpoint and goes back to the queue."""
        self.draining.set()

    def leave(self) -> None:
        """Take this worker off the list, so that nobody sends it a message."""
        self._left.set()
        self._leftovers.stop()
        self._heart.join(timeout=5)
        attempt(self._database, lambda session: nodes.forget(session, self.name))
        self._database.close()

    def execute(self, uid: str) -> None:
        """Answer one wake-up: claim the run and train it; where it is taken already, forget the message."""
        if self.draining.is_set():
            return
        _, claim = attempt(
            self._database, lambda session: claims.claim(session, uid, self.name, self._settings.lease_seconds)
        )
        if claim is None:  # taken, gone, or the database is away: the reconcile loop sends another message
            return
        # A run on the processor of a machine with GPUs must not see them: they are not its own.
        visible = ",".join(claim.gpus) if self._gpus or claim.gpus else None
        Supervisor(self._database, self._settings, claim, self.draining, gpu=visible, train=self._train).run()
        if not self.draining.is_set():
            _, hints = attempt(self._database, lambda session: dispatch.due_hints(session, self._settings))
            for due, name in hints or ():
                send_hint(self._app, due, name)

    def beat(self) -> bool:
        """Say what this worker has and that it lives. False where the database did not take it."""
        read = (read_gpus() or []) if self._gpus else []
        self._gpus = read or self._gpus  # a driver that hiccups has not taken the GPUs away
        host = socket.gethostname()

        def write(session: Session) -> None:
            at = nodes.register(
                session, self.name, host=host, pid=os.getpid(), queue=self._settings.queue, slots=self.slots,
                cpu_slots=self.cpu_slots, version=_version(), devices=devices(self._gpus), gpus=self._gpus,
                config_schema=max(CONFIG_SCHEMA, TRIAL_SCHEMA), draining=self.draining.is_set(), first=not self._known,
            )  # fmt: skip
            gpu_history.record(session, at, self._period, host, read)

        done, _ = attempt(self._database, write)
        self._known = self._known or done
        return done

    @property
    def _period(self) -> float:
        """Seconds between heartbeats."""
        return self._settings.lease_seconds / 4

    def _beat(self) -> None:
        period = self._period
        due, told = time.monotonic() + period, False
        while not self._left.wait(min(_LISTEN_SECONDS, period)):
            if not told and not self.draining.is_set() and self._asked_to_leave():
                _log.info("asked to leave over the API")
                os.kill(os.getpid(), signal.SIGTERM)  # the one way out, whoever asks
                told = True
            if time.monotonic() >= due:
                due = time.monotonic() + (period if self.beat() else min(1.0, period))

    def _asked_to_leave(self) -> bool:
        try:
            with self._database.snapshot() as session:
                return nodes.is_draining(session, self.name)
        except SQLAlchemyError:
            return False


def _version() -> str:
    try:
        return version("copg-studio")
    except PackageNotFoundError:
        return "unknown"
