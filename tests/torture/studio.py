"""The studio under torture: API, workers, broker and database as real processes, each started again when it dies."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy.engine import make_url

from backend import broker
from backend.database import Database
from backend.migrations import upgrade
from backend.settings import Settings
from tests.torture.servers import Postgres, free_port
from worker import orphans

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 3


class Studio:
    """Starts everything; `tend` keeps it running, as a restart policy would, until `stop`."""

    def __init__(self, folder: Path, postgres: Postgres | None, slots: int) -> None:
        self.folder, self.postgres = folder, postgres
        self.logs = folder / "logs"
        self.logs.mkdir()
        self.socket = broker.socket_path(folder)
        url = postgres.url if postgres else f"sqlite:///{folder / 'copg.sqlite3'}"
        upgrade(url)
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}/api/v1"
        self.settings = Settings(
            data_dir=str(folder), database_url=url, broker_url=broker.url(self.socket), slots=slots,
            queue=f"torture-{uuid.uuid4().hex[:8]}", lease_seconds=8.0, grace_seconds=30.0, tick_seconds=0.2,
            republish_seconds=3.0,
        )  # fmt: skip
        self.database = Database(url)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._starters: dict[str, Callable[[], subprocess.Popen[bytes]]] = {"broker": self._broker, "api": self._api}
        for number in range(1, WORKERS + 1):
            self._starters[f"worker {number}"] = lambda number=number: self._worker(number)  # type: ignore[misc]
        self.lock = threading.Lock()  # held by whoever must not have a process started behind their back
        self._over = threading.Event()
        self._tender = threading.Thread(target=self._tend, name="tend", daemon=True)

    # -- processes

    def start(self) -> None:
        for name, starter in self._starters.items():
            self.processes[name] = starter()
        self._tender.start()
        self.until(self._answers, "the API answers")

    def _spawn(self, name: str, command: list[str], settings: Settings) -> subprocess.Popen[bytes]:
        variables = {f"COPG_{item.name.upper()}": str(getattr(settings, item.name)) for item in fields(settings)}
        environment = {**os.environ, **variables, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        with (self.logs / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command, env=environment, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def _broker(self) -> subprocess.Popen[bytes]:
        return self._spawn("broker", broker.command(self.folder, self.socket), self.settings)

    def _api(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "uvicorn", "--factory", "backend.main:create_app", "--port", str(self.port),
                   "--no-access-log", "--timeout-graceful-shutdown", "2"]  # fmt: skip
        return self._spawn("api", command, self.settings)

    def _worker(self, number: int) -> subprocess.Popen[bytes]:
        settings = replace(self.settings, worker_name=f"worker {number}, {uuid.uuid4().hex[:6]}")
        command = [sys.executable, "-m", "celery", "-A", "worker.app", "worker", "-P", "threads", "-c",
                   str(settings.slots), "-Q", settings.queue, "--without-gossip", "--without-mingle",
                   "--without-heartbeat", "--loglevel", "INFO"]  # fmt: skip
        return self._spawn(f"worker {number}", command, settings)

    def _tend(self) -> None:
        while not self._over.wait(0.2):
            with self.lock:
                for name, process in self.processes.items():
                    if process.poll() is not None and not self._over.is_set():
                        self.processes[name] = self._starters[name]()

    def attempts(self, what: str) -> list[int]:
        """Process ids of our runs' guards (`what` is "guard.py") or children ("worker.child")."""
        found = []
        for pid, _ in orphans._marked():
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if str(self.folder).encode() in b" ".join(command):
                    guard = any(part.endswith(b"guard.py") for part in command)
                    if guard == (what == "guard.py"):
                        found.append(pid)
        return found

    def stop(self) -> list[str]:
        """Drain the workers, end the rest; says what did not go as it should."""
        said = []
        self._over.set()
        self._tender.join()
        for name in sorted(self.processes, reverse=True):  # workers first, then broker and API
            process = self.processes[name]
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(90)
            except subprocess.TimeoutExpired:
                said.append(f"{name} did not end on SIGTERM")
                process.kill()
                process.wait()
        self.database.close()
        return said

    # -- the API as a person or a script uses it: what did not arrive is sent again

    def ask(self, method: str, path: str, wanted: tuple[int, ...], **options: Any) -> httpx.Response:
        """Repeat until one of the wanted answers comes. Any other 4xx is an error; everything else is tried again."""
        deadline = time.monotonic() + 180
        said = ""
        while time.monotonic() < deadline:
            try:
                answer = httpx.request(method, f"{self.address}{path}", timeout=20, **options)
            except httpx.TransportError as error:
                said = repr(error)
            else:
                if answer.status_code in wanted:
                    return answer
                said = f"{answer.status_code} {answer.text}"
                assert answer.status_code >= 500, f"{method} {path}: {said}"
            time.sleep(0.3)
        raise AssertionError(f"{method} {path} had no answer in three minutes; the last one: {said}")

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.address}/health", timeout=10).status_code == 200
        except httpx.TransportError:
            return False

    def until(self, condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited {seconds:g} s in vain until {what}"
            time.sleep(0.1)

    def says(self, log: str, words: str) -> int:
        """How often the logs whose name begins with `log` hold the words."""
        return sum(path.read_text(errors="replace").count(words) for path in self.logs.glob(f"{log}*.log"))

    @property
    def database_name(self) -> str:
        return make_url(self.settings.database_url).get_backend_name()
