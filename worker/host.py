"""What one worker process is: its name, its slots and GPUs, its heartbeat, and its way out."""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
import uuid
from importlib.metadata import PackageNotFoundError, version

from celery import Celery

from backend import claims, nodes
from backend.database import Database
from backend.queue import send_hint
from backend.settings import Settings
from worker import child, orphans
from worker.devices import devices
from worker.persist import attempt
from worker.supervisor import Supervisor

_log = logging.getLogger(__name__)


class Host:
    """Executes runs for a Celery worker. Thread-safe: each slot is a thread that calls `execute`."""

    def __init__(self, app: Celery, settings: Settings, *, train: str = child.TRAIN) -> None:
        self._app, self._settings, self._train = app, settings, train
        self._database = Database(settings.effective_database_url)
        self.name = settings.worker_name or f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"
        self.draining = threading.Event()
        self._gpus: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._devices = devices()
        for device in self._devices:
            if device["kind"] == "gpu":
                self._gpus.put(device["uuid"])
        self._left = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Clear away what a dead predecessor left on this machine, then be known to the queue."""
        if killed := orphans.sweep_abandoned():
            _log.warning("killed %d processes of attempts whose supervisor is dead", killed)
        self._heart.start()

    def drain(self) -> None:
        """Take nothing new; every run writes a checkpoint and goes back to the queue."""
        self.draining.set()

    def leave(self) -> None:
        """Take this worker off the list, so that nobody sends it a message."""
        self._left.set()
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
        gpu = self._take_gpu()
        try:
            Supervisor(self._database, self._settings, claim, self.draining, gpu=gpu, train=self._train).run()
        finally:
            if gpu is not None:
                self._gpus.put(gpu)
        if not self.draining.is_set():
            _, hints = attempt(self._database, lambda session: nodes.due_hints(session, self._settings))
            for due, name in hints or ():
                send_hint(self._app, due, name)

    def _take_gpu(self) -> str | None:
        try:
            return self._gpus.get_nowait()
        except queue.Empty:
            return None

    def _beat(self) -> None:
        period = self._settings.lease_seconds / 4
        while not self._left.is_set():
            slots = 0 if self.draining.is_set() else self._settings.slots  # still here, but send nothing more
            done, _ = attempt(
                self._database,
                lambda session, slots=slots: nodes.register(  # type: ignore[misc]
                    session, self.name, host=socket.gethostname(), pid=os.getpid(), queue=self._settings.queue,
                    slots=slots, version=_version(), devices=self._devices,
                ),
            )  # fmt: skip
            self._left.wait(period if done else min(1.0, period))


def _version() -> str:
    try:
        return version("copg-studio")
    except PackageNotFoundError:
        return "unknown"
