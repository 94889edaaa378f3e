"""What `copg up` runs beside the API: processes under a guard, which die with it, and the lock on its data folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path


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
        """SIGTERM now, SIGKILL after the grace period; returns at once."""
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            os.write(self._process.stdin.fileno(), b"T")

    def kill(self) -> None:
        """SIGKILL to the whole tree; returns when it is gone."""
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._process.wait(30)
