"""What `copg up` runs beside the API: processes under a guard, which die with it, and the lock on its data folder."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

_NEVER = float("inf")
_STEADY_SECONDS = 60.0
_PR_SET_DUMPABLE = 4


def conceal() -> None:
    """Keep this process's environment and memory from other processes of the same user, as far as the system can: Linux.

    A training process runs as the same user and could else read the database's password in /proc/<pid>/environ. Nobody but
    root can attach a debugger from now on. Programs that this process starts are not concealed.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


class AlreadyRunning(Exception):  # noqa: N818 - reads as what it says
    """Another `copg up` has the data folder."""


class FolderLock:
    """Held as long as this process lives, however it ends. Says to others who holds it."""

    def __init__(self, data_path: Path) -> None:
        self._path = data_path / "copg.lock"
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise AlreadyRunning(self._who(data_path)) from None

    def _who(self, data_path: Path) -> str:
        try:
            holder = json.loads(self._path.read_text())
            who = f"process {holder['pid']}, {holder['address']}"
        except (OSError, ValueError, KeyError):
            who = "it is just starting"
        os.close(self._file)
        return f"copg is already running on {data_path} ({who}): open that one, stop it, or choose another --data-dir"

    def sign(self, address: str) -> None:
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, json.dumps({"pid": os.getpid(), "address": address}).encode(), 0)

    def release(self) -> None:
        os.ftruncate(self._file, 0)  # the file stays: removing it would let two others lock two files of one name
        os.close(self._file)


class Restarts:
    """When a process that ended may be started again: at once, then after 1, 3, 7, ... seconds, at most `cap`.

    One that ran for a minute has its failures forgotten.
    """

    def __init__(self, cap: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._cap, self._clock = cap, clock
        self._started, self._due = clock(), _NEVER
        self.failures = 0
        """Ends in a row, each within a minute of its start."""

    def may_start(self) -> bool:
        """Asked again and again while the process is down: True when it is time, once for each start."""
        now = self._clock()
        if self._due == _NEVER:
            self.failures = 1 if now - self._started > _STEADY_SECONDS else self.failures + 1
            self._due = now + min(self._cap, 2.0 ** (self.failures - 1) - 1)
        if now < self._due:
            return False
        self._started, self._due = now, _NEVER
        return True


class Guarded:
    """A command under worker/guard.py. When this process dies, by whatever means, so does everything that it started."""

    def __init__(self, command: list[str], log: Path, environment: Mapping[str, str], grace_seconds: float) -> None:
        found = find_spec("worker.guard")  # run as a file: the web process imports nothing of the worker
        assert found is not None
        assert found.origin is not None
        log.parent.mkdir(parents=True, exist_ok=True)
        arguments = [sys.executable, "-I", "-S", found.origin, "0", str(grace_seconds), "3", "--", *command]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                arguments, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                env=dict(environment),
            )  # fmt: skip

    def poll(self) -> int | None:
        return self._process.poll()

    def ask_to_stop(self) -> None:
        """SIGTERM now, SIGKILL after the grace period; returns at once. One that was killed needs no asking."""
        with contextlib.suppress(OSError, ValueError):  # a file that is closed is a ValueError
            assert self._process.stdin is not None
            os.write(self._process.stdin.fileno(), b"T")

    def kill(self) -> None:
        """SIGKILL to the whole tree; returns when it is gone."""
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._process.wait(30)
