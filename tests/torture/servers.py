"""A PostgreSQL cluster of our own, which may be restarted in the middle of everything, and free ports."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def postgres_programs() -> Path | None:
    """Folder with `initdb` and `postgres`, the newest version first; None where PostgreSQL is not installed."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -float(path.parent.name))
    on_path = shutil.which("initdb")
    return next((path for path in (*installed, *([Path(on_path).parent] if on_path else [])) if (path / "postgres").exists()), None)  # fmt: skip


def _who() -> dict[str, Any]:
    """Options of Popen: PostgreSQL refuses to be root."""
    if os.getuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise RuntimeError("no user to run PostgreSQL as")


class Postgres:
    """A server in a folder of its own. Only this object knows of it; `close()` leaves nothing. Empty password: none is asked."""

    def __init__(self, programs: Path, password: str = "") -> None:
        self._programs, self._who = programs, _who()
        self.folder = Path(tempfile.mkdtemp(prefix="copg-postgres-"))
        if self._who:
            os.chown(self.folder, self._who["user"], self._who["group"])
        self.port = free_port()
        self.url = f"postgresql+psycopg://copg:{password}@127.0.0.1:{self.port}/postgres".replace(":@", "@")
        self._data = self.folder / "data"
        secret = self.folder / "password"
        secret.write_text(password)
        secret.chmod(0o644)
        how = ["-A", "scram-sha-256", "--pwfile", str(secret)] if password else ["-A", "trust"]
        self._run("initdb", "-D", str(self._data), "-U", "copg", *how, "-E", "UTF8", "--no-sync")
        self._server: subprocess.Popen[bytes] | None = None
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments], cwd=self.folder, capture_output=True, text=True, check=False, **self._who
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Returns when it answers."""
        options = {"port": self.port, "unix_socket_directories": self.folder, "listen_addresses": "127.0.0.1",
                   "fsync": "off", "max_connections": 200, "shared_buffers": "32MB"}  # fmt: skip
        command = [str(self._programs / "postgres"), "-D", str(self._data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        log = os.open(self.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self._server = subprocess.Popen(
            command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True, **self._who
        )
        os.close(log)
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url.replace("+psycopg", ""), connect_timeout=2).close()
            except psycopg.OperationalError:
                assert self._server.poll() is None, (self.folder / "log").read_text()[-2000:]
                assert time.monotonic() < deadline, "PostgreSQL does not answer"
                time.sleep(0.05)
            else:
                return

    def crash(self) -> None:
        """An immediate shutdown: every connection breaks, transactions in flight are lost, recovery at the next start."""
        assert self._server is not None
        self._server.send_signal(signal.SIGQUIT)
        self._server.wait(60)

    def close(self) -> None:
        if self._server is not None and self._server.poll() is None:
            self.crash()
        shutil.rmtree(self.folder, ignore_errors=True)
