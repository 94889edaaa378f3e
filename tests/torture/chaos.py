"""What goes wrong: a seeded sequence of faults, done to a studio until it is told to stop."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable

import psycopg
import redis
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from backend.models import Run
from tests.torture.studio import WORKERS, Studio


class Chaos:
    """A thread. Which fault comes next, and its length, are functions of the seed; what it hits depends on the moment."""

    def __init__(self, studio: Studio, seed: int, pause: tuple[float, float], most: int | None = None) -> None:
        self._studio, self._pause, self._most = studio, pause, most
        self._done = 0
        self._dice = random.Random(f"chaos {seed}")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos", daemon=True)
        self._thaws: list[threading.Thread] = []
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        postgres = studio.postgres is not None
        self._faults: list[tuple[str, int, Callable[[], bool]]] = [
            ("worker killed", 4, lambda: self._signal(self._a_worker(), signal.SIGKILL)),
            ("guard killed", 2, lambda: self._kill_one_of("guard.py")),
            ("training killed", 2, lambda: self._kill_one_of("worker.child")),
            ("API killed", 2, lambda: self._signal("api", signal.SIGKILL)),
            ("worker frozen past its lease", 2, lambda: self._freeze(self._a_worker(), 1.1, 1.8)),
            ("worker or API frozen briefly", 1, lambda: self._freeze(self._dice.choice(["api", self._a_worker()]), 0.1, 0.6)),
            ("worker drained", 2, lambda: self._signal(self._a_worker(), signal.SIGTERM)),
            ("broker emptied", 2, self._empty_broker),
            ("broker killed", 2, lambda: self._signal("broker", signal.SIGKILL)),
            ("database locked", 3, self._lock_postgres if postgres else self._lock_sqlite),
            *([("PostgreSQL crashed and restarted", 2, self._restart_postgres)] if postgres else []),
        ]  # fmt: skip

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        for thaw in self._thaws:
            thaw.join()

    def _every_fault_once(self) -> None:
        """One of each in a seeded order: so that a short round, too, has seen everything."""
        for name, _, fault in self._dice.sample(self._faults, len(self._faults)):
            if self._stop.wait(self._dice.uniform(*self._pause)):
                return
            self._do(name, fault)

    def _run(self) -> None:
        self._every_fault_once()
        names, weights, faults = zip(*self._faults, strict=True)
        while not self._stop.wait(self._dice.uniform(*self._pause)):
            [chosen] = self._dice.choices(range(len(names)), weights)
            self._do(names[chosen], faults[chosen])

    def _do(self, name: str, fault: Callable[[], bool]) -> None:
        if self._most is not None and self._done >= self._most:
            self._stop.wait()
            return
        self._done += 1
        if self._dice.random() < 0.6:
            self._wait_for_training()
        try:
            self.counts[name] += fault()
        except Exception as error:  # noqa: BLE001 - a fault that cannot be done is a fault of the torture
            self.problems.append(f"{name}: {type(error).__name__}: {error}")

    def _wait_for_training(self) -> None:
        """A fault hits harder between two steps than while libraries are imported, which takes most of a run's time."""
        deadline = time.monotonic() + 4
        training = select(func.count()).where(Run.state == "running", Run.step > 0, Run.step < Run.total_steps)
        while time.monotonic() < deadline and not self._stop.is_set():
            with contextlib.suppress(SQLAlchemyError), self._studio.database.snapshot() as session:
                if session.scalar(training):
                    return
            time.sleep(0.03)

    # -- faults: each says whether it found its victim

    def _a_worker(self) -> str:
        return f"worker {self._dice.randint(1, WORKERS)}"

    def _signal(self, name: str, number: signal.Signals) -> bool:
        with self._studio.lock:
            process = self._studio.processes[name]
            if process.poll() is not None:
                return False
            process.send_signal(number)
            return True

    def _kill_one_of(self, what: str) -> bool:
        found = self._studio.attempts(what)
        if not found:
            return False
        try:
            os.kill(self._dice.choice(found), signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def _freeze(self, name: str, least: float, most: float) -> bool:
        """In the background: what happens to the others meanwhile is the point."""
        seconds = self._dice.uniform(least, most) * self._studio.settings.lease_seconds
        process = self._studio.processes[name]
        if process.poll() is not None:
            return False
        process.send_signal(signal.SIGSTOP)

        def thaw() -> None:
            self._stop.wait(seconds)
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)

        self._thaws.append(threading.Thread(target=thaw))
        self._thaws[-1].start()
        return True

    def _empty_broker(self) -> bool:
        try:
            with redis.Redis(unix_socket_path=str(self._studio.socket), socket_timeout=5) as client:
                client.flushall()
        except redis.RedisError:
            return False  # it is down just now
        return True

    def _lock_sqlite(self) -> bool:
        path = self._studio.folder / "copg.sqlite3"
        with contextlib.closing(sqlite3.connect(path, timeout=20, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False  # somebody frozen has it locked already
            self._stop.wait(self._dice.uniform(0.3, 4))
            connection.execute("ROLLBACK")
        return True

    def _lock_postgres(self) -> bool:
        try:
            with psycopg.connect(
                self._studio.settings.database_url.replace("+psycopg", ""), connect_timeout=5
            ) as connection:
                connection.execute("SET lock_timeout = '20s'")
                connection.execute("LOCK TABLE run IN ACCESS EXCLUSIVE MODE")
                self._stop.wait(self._dice.uniform(0.3, 7))  # the studio's own lock_timeout is 5 s
                connection.rollback()
        except psycopg.OperationalError:
            return False
        return True

    def _restart_postgres(self) -> bool:
        assert self._studio.postgres is not None
        self._studio.postgres.crash()
        self._stop.wait(self._dice.uniform(0, 2))
        self._studio.postgres.start()
        return True
