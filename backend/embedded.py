"""`copg up`: database, broker, worker, API and page as one process tree, with one Ctrl-C.

This process serves the API and watches the others; each of those runs under a guard that ends it when this process dies,
kill -9 included. A worker that dies is started again and its runs go on from their checkpoints; one that freezes is killed
first, because a process that is frozen inside a SQLite transaction blocks everybody else.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import signal
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType

import uvicorn
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from backend import broker, claims, logs, nodes
from backend.broker import BrokerError
from backend.database import Database
from backend.garbage import Keeper
from backend.migrations import SchemaError, upgrade
from backend.origins import host_name, is_local_name
from backend.processes import AlreadyRunning, FolderLock, Guarded, Restarts, conceal
from backend.settings import Settings

_log = logging.getLogger(__name__)
_WATCH_SECONDS = 0.25
_BROKER_STARTS = 6  # failed ones in a row, each after a longer wait: half a minute in all


class UpError(Exception):
    """Why the studio cannot start, as a sentence for the person who typed the command."""


def up(settings: Settings, *, host: str = "127.0.0.1", port: int = 8000, browser: bool = False) -> None:
    """Run until Ctrl-C or SIGTERM; nothing is left running when this returns. Raises UpError."""
    conceal()
    logs.configure(settings.log_format, level=logging.WARNING)
    if not is_local_name(host):
        settings = replace(settings, access="token")  # whoever can reach this machine can ask
        if host_name(host) not in ("0.0.0.0", "::"):
            settings = replace(settings, allowed_hosts=",".join(filter(None, (settings.allowed_hosts, host))))
    try:
        settings.data_path.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(settings.data_path)
    except AlreadyRunning as error:
        raise UpError(str(error)) from error
    except OSError as error:
        raise UpError(f"the data folder {settings.data_path} cannot be used: {error.strerror}") from error
    try:
        listener = _listen(host, port)
        with listener:
            address = _address(host, listener.getsockname()[1])
            lock.sign(address)
            _Tree(settings, address, browser=browser).run(listener)
    except BrokerError as error:
        raise UpError(str(error)) from error
    finally:
        lock.release()


def _listen(host: str, port: int) -> socket.socket:
    """Take the port before anything is started, so that a busy one costs nothing."""
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise UpError(f"--host {host} is not an address of this machine: {error.strerror}") from error
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(target)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise UpError(
                f"port {port} on {host} is in use by another program: choose another, for example --port {port + 1}"
            ) from error
        raise UpError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return listener


def _address(host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


class _Server(uvicorn.Server):
    """uvicorn, which leaves everything where it is after a second Ctrl-C, and then reports what it left as errors."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit and sig == signal.SIGINT:
            logging.getLogger("uvicorn.error").disabled = True
        super().handle_exit(sig, frame)


class _Tree:
    def __init__(self, settings: Settings, address: str, *, browser: bool) -> None:
        self._address, self._browser = address, browser
        self._socket: Path | None = None
        if not settings.broker_url:
            self._socket = broker.socket_path(settings.data_path)
            settings = replace(settings, broker_url=broker.url(self._socket))
        self._settings = settings
        folder = hashlib.sha256(str(settings.data_path).encode()).hexdigest()[:8]
        self._prefix = f"{socket.gethostname()}/{folder}/"  # of the names of all workers of this data folder
        self._logs = settings.data_path / "logs"
        self._broker: Guarded | None = None
        self._worker: Guarded | None = None
        self._worker_name = ""
        self._broker_restarts, self._worker_restarts = Restarts(), Restarts()
        self._silence: float | None = None  # since when the worker has not been heard of
        self._trouble = ""
        self._presses = 0
        self._stopping = threading.Event()

    def run(self, listener: socket.socket) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._press)
        watcher = threading.Thread(target=self._watch, name="watch", daemon=True)
        try:
            self._start_broker()
            self._migrate()
            from backend.main import create_app  # the broker starts while this is imported

            app = create_app(self._settings)
            Keeper().install()
            try:
                app.state.doorkeeper.check_start()
            except ValueError as error:
                raise UpError(str(error)) from error
            if self._socket is not None:
                broker.wait(self._socket, self._logs / "broker.log")
            self._database = Database(self._settings.effective_database_url)
            self._give_back(self._prefix)
            config = uvicorn.Config(
                app, log_level="warning", access_log=False, timeout_graceful_shutdown=2, lifespan="on",
                server_header=False, proxy_headers=False,  # COPG_TRUSTED_PROXIES says whom the application believes
            )  # fmt: skip
            self._server = _Server(config)
            if not self._stopping.is_set():
                watcher.start()
                self._server.run(sockets=[listener])  # handles SIGINT and SIGTERM itself, then calls _press
                if not self._server.started and not self._stopping.is_set():
                    raise UpError("the API did not start; what went wrong stands above")
                if self._trouble:
                    raise UpError(self._trouble)
        finally:
            self._stopping.set()
            if watcher.is_alive():
                watcher.join()
            self._stop()

    def _press(self, number: int, frame: FrameType | None) -> None:
        self._presses += 1
        self._stopping.set()
        if server := getattr(self, "_server", None):  # SIGHUP, which uvicorn leaves to us
            server.should_exit = True

    # -- start

    def _start_broker(self) -> None:
        if self._socket is not None:
            command = broker.command(self._settings.data_path, self._socket)
            plain = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "TMPDIR")}
            self._broker = Guarded(command, self._logs / "broker.log", plain, grace_seconds=10)

    def _migrate(self) -> None:
        url = self._settings.effective_database_url
        try:
            upgrade(url)
        except SchemaError as error:
            raise UpError(str(error)) from error
        except SQLAlchemyError as error:
            shown = make_url(url).render_as_string(hide_password=True)
            cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise UpError(f"the database {shown} cannot be used: {cause}") from error

    def _give_back(self, owner_prefix: str) -> None:
        """Queue the runs of workers that are dead: we hold the folder's lock, or we saw that worker die."""
        with suppress(SQLAlchemyError), self._database.transaction() as session:
            claims.give_back(session, owner_prefix)

    def _start_worker(self) -> None:
        self._worker_name = f"{self._prefix}{os.getpid()}-{time.monotonic_ns():x}"
        settings = replace(self._settings, worker_name=self._worker_name)
        command = [
            sys.executable, "-m", "celery", "-A", "worker.app", "worker", "-P", "threads", "-Q", settings.queue,
            "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO",
        ]  # fmt: skip
        if sys.stderr.isatty():  # who reads our own lines as text reads the worker's so, too
            settings = replace(settings, log_format=settings.log_format or "text")
        variables = settings.variables() | {"COPG_DATA_DIR": str(settings.data_path)}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("COPG_")}
        self._worker = Guarded(command, self._logs / "worker.log", inherited | variables, settings.grace_seconds + 10)

    # -- watch

    def _watch(self) -> None:
        while not self._server.started:
            if self._stopping.wait(0.01):
                return
        self._announce()
        while not self._stopping.is_set():
            try:
                self._look()
            except Exception:  # noqa: BLE001 - whoever keeps the others alive must not die
                _log.exception("watching the processes")
            self._stopping.wait(_WATCH_SECONDS)

    def _look(self) -> None:
        """Start what has ended, and kill a worker that froze."""
        if self._broker is not None and self._broker.poll() is not None:
            if self._broker_restarts.failures >= _BROKER_STARTS:
                self._give_up()
            elif self._broker_restarts.may_start():
                _log.warning("the broker ended, starting it again")
                self._try_start("broker", self._start_broker)
        if self._worker is not None and self._worker.poll() is None:
            self._silence = self._silent_since(self._silence)
            if self._silence is None or time.monotonic() - self._silence <= self._settings.lease_seconds / 2:
                return
            _log.warning("the worker is frozen, killing it")
            self._worker.kill()
        if self._worker_name:
            _log.warning("the worker ended, starting it again; its log is %s", self._logs / "worker.log")
            self._give_back(self._worker_name)
            self._worker_name, self._silence = "", None
        if self._worker_restarts.may_start():
            self._try_start("worker", self._start_worker)  # after the API answers: its imports take the cores away

    def _try_start(self, what: str, start: Callable[[], None]) -> None:
        try:
            start()
        except OSError as error:
            _log.error("the %s cannot be started, will try again: %s: %s", what, error.strerror, error.filename)

    def _give_up(self) -> None:
        """End everything: without a broker runs would wait silently."""
        log = self._logs / "broker.log"
        tail = log.read_text(errors="replace").strip()[-600:] if log.exists() else "(it said nothing)"
        self._trouble = (
            f"the embedded broker ended {_BROKER_STARTS} times in a row. Its log {log} ends with:\n{tail}\n"
            f"Where its files are damaged, remove {self._settings.data_path / 'broker'}: they hold wake-ups only, no run is lost"
        )
        self._stopping.set()
        self._server.should_exit = True

    def _silent_since(self, before: float | None) -> float | None:
        """When the worker was first seen to be silent for a lease, by this process's clock; None while it is heard of.

        Two observations, because after the lid of a laptop was closed everybody has been silent for a while.
        """
        try:
            with self._database.snapshot() as session:
                silent = nodes.silent_seconds(session, self._worker_name)
        except SQLAlchemyError:
            return None
        if silent is None or silent <= self._settings.lease_seconds:
            return None
        return before if before is not None else time.monotonic()

    def _announce(self) -> None:
        print(f"Data in {self._settings.data_path}. Ctrl-C stops everything.")  # noqa: T201 - the command's output
        print(f"Open {self._address}", flush=True)  # noqa: T201
        if self._browser:
            webbrowser.open(self._address)

    # -- stop

    def _stop(self) -> None:
        """The worker first, with time for its runs' checkpoints; a second Ctrl-C cuts that short. Then the broker."""
        for process in (self._worker, self._broker):
            if process is None:
                continue
            process.ask_to_stop()
            begin, told = time.monotonic(), False
            while process.poll() is None and self._presses < 2:
                if not told and time.monotonic() - begin > 2:
                    told = True
                    print("Waiting for a checkpoint; Ctrl-C again stops at once.", flush=True)  # noqa: T201
                time.sleep(0.05)
            process.kill()
        if self._socket is not None:
            self._socket.unlink(missing_ok=True)
            with suppress(OSError):  # the data folder's holds the broker's messages and stays
                self._socket.parent.rmdir()
        if database := getattr(self, "_database", None):
            database.close()
