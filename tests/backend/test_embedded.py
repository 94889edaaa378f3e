"""`copg up` as a person starts it: refusals, a run, and nothing left behind however it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from backend.processes import Restarts
from tests import waiting

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="looks for survivors in /proc")]
COPG = Path(sys.executable).with_name("copg")
until = partial(waiting.until, seconds=120)

RUN = """
algorithm = "sft"
steps = 100000
batch_size = 8
policy = {kind = "preset", size = "nano"}
data = {kind = "task", train_size = 64, validation_size = 16}
evaluation = {every = 1000, prompts = 4}
checkpoints = {every = 5}
"""


class Up:
    """One `copg up` on a free port; its whole tree carries a mark in its environment."""

    def __init__(self, folder: Path, *arguments: str, **variables: str) -> None:
        self.data, self.mark = folder / "data", f"UP_TEST_TREE={folder}"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("COPG_")}
        name, _, value = self.mark.partition("=")
        self.output = folder / f"up-{time.monotonic_ns()}.txt"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [COPG, "up", "--port", "0", "--data-dir", str(self.data), *arguments],
                env={**clean, "OMP_NUM_THREADS": "1", name: value, **variables},
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    @property
    def address(self) -> str:
        until(lambda: "Open http" in self.text() or self.process.poll() is not None)
        assert self.process.poll() is None, self.text()
        found = re.search(r"Open (http://\S+)", self.text())
        assert found is not None
        return found[1]

    def text(self) -> str:
        return self.output.read_text()

    def processes(self) -> dict[int, str]:
        """Command lines of everything in the tree, also of what left its parents.

        Training processes have a clean environment, and Valkey overwrites its own with its title: both name the folder.
        """
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                environment = (entry / "environ").read_bytes()
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if self.mark.encode() in environment or f"{self.data}/" in command:
                found[int(entry.name)] = command
        return found

    def main_of(self, pattern: str) -> int:
        """The process itself, not the guard whose arguments hold its command."""
        return next(pid for pid, line in self.processes().items() if pattern in line and "guard.py" not in line)

    def socket_exists(self) -> bool:
        return any(self.data.rglob("*.sock"))

    def get(self, path: str) -> dict:
        answer = httpx.get(f"{self.address}/api/v1{path}", timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def start_training(self, folder: Path) -> str:
        """Launch a long run over the command line, and return its id once it trains."""
        (folder / "run.toml").write_text(RUN)
        launched = copg("launch", str(folder / "run.toml"), "--server", self.address)
        assert launched.returncode == 0, launched.stderr
        uid = launched.stdout.split()[0]
        until(lambda: self.get(f"/runs/{uid}")["step"] >= 3)
        return uid


def copg(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COPG, *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    started: list[Up] = []

    def begin(*arguments: str, **variables: str) -> Up:
        started.append(Up(tmp_path, *arguments, **variables))
        return started[-1]

    yield begin
    for up in started:
        up.process.kill()
        up.process.wait()
    until(lambda: not any(up.processes() for up in started))


def test_it_serves_trains_refuses_a_second_one_and_leaves_nothing_behind(
    start: Callable[..., Up], tmp_path: Path
) -> None:
    up = start()
    assert up.socket_exists() or up.address
    uid = up.start_training(tmp_path)
    second = copg("up", "--port", "0", "--data-dir", str(up.data))
    assert second.returncode == 1
    assert f"already running on {up.data} (process {up.process.pid}, {up.address})" in second.stderr
    assert "Traceback" not in second.stderr
    listed = copg("runs", "list", "--server", up.address)
    assert uid in listed.stdout
    assert "running" in listed.stdout
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(60) == 0, up.text()
    assert up.processes() == {}
    assert not up.socket_exists()
    assert "Traceback" not in up.text()
    again = start()  # the folder is free, and the run goes on from the checkpoint that Ctrl-C made it write
    before = again.get(f"/runs/{uid}")
    assert before["checkpoint_step"] >= 3
    until(lambda: again.get(f"/runs/{uid}")["step"] > before["checkpoint_step"])
    assert again.get(f"/runs/{uid}")["attempt"] == 1  # a polite end is no attempt
    assert copg("runs", "cancel", uid, "--server", again.address).returncode == 0
    until(lambda: again.get(f"/runs/{uid}")["state"] == "cancelled")
    again.process.send_signal(signal.SIGTERM)
    again.process.wait(60)
    assert again.processes() == {}


def test_kill_9_of_the_top_leaves_nothing_running_and_the_run_goes_on_at_the_next_start(
    start: Callable[..., Up], tmp_path: Path
) -> None:
    up = start()
    uid = up.start_training(tmp_path)
    until(lambda: up.get(f"/runs/{uid}")["checkpoint_step"])
    up.process.kill()
    up.process.wait()
    until(lambda: not up.processes())
    again = start()
    until(lambda: again.get(f"/runs/{uid}")["attempt"] == 2)
    until(lambda: again.get(f"/runs/{uid}")["step"] > again.get(f"/runs/{uid}")["checkpoint_step"])


def test_a_worker_that_died_or_froze_is_replaced_and_its_run_goes_on(start: Callable[..., Up], tmp_path: Path) -> None:
    up = start(COPG_LEASE_SECONDS="15")
    uid = up.start_training(tmp_path)
    os.kill(up.main_of("-A worker.app worker"), signal.SIGKILL)
    until(lambda: up.get(f"/runs/{uid}")["attempt"] == 2)
    until(lambda: up.get(f"/runs/{uid}")["state"] == "running" and up.get(f"/runs/{uid}")["stage"] == "training")
    frozen = up.main_of("-A worker.app worker")
    os.kill(frozen, signal.SIGSTOP)
    until(lambda: up.get(f"/runs/{uid}")["attempt"] == 3)
    until(lambda: frozen not in up.processes())
    os.kill(up.main_of("valkey-server"), signal.SIGKILL)
    until(lambda: up.get("/health")["broker"] == "ok" and up.get("/health")["workers"] == 1)


def test_a_busy_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = copg("up", "--port", str(port), "--data-dir", str(tmp_path / "data"))
    assert refused.returncode == 1
    assert f"port {port} on 127.0.0.1 is in use" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_folder_or_a_database_that_cannot_be_used_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = copg("up", "--port", "0", "--data-dir", str(tmp_path / "file"))
    assert refused.returncode == 1
    assert f"the data folder {tmp_path / 'file'} cannot be used" in refused.stderr
    environment = {**os.environ, "COPG_DATABASE_URL": "postgresql+psycopg://nobody:secret@127.0.0.1:1/none"}
    refused = subprocess.run(
        [COPG, "up", "--port", "0", "--data-dir", str(tmp_path / "data")],
        capture_output=True, text=True, timeout=60, check=False, env=environment,
    )  # fmt: skip
    assert refused.returncode == 1
    assert "127.0.0.1:1/none cannot be used" in refused.stderr
    assert "secret" not in refused.stderr
    assert "Traceback" not in refused.stderr


def test_starts_are_tried_again_after_waits_that_double_and_a_steady_minute_is_a_new_beginning() -> None:
    clock = [0.0]
    restarts = Restarts(cap=5, clock=lambda: clock[0])
    waits = []
    for _ in range(5):
        begin = clock[0]
        while not restarts.may_start():
            clock[0] += 0.5
        waits.append(clock[0] - begin)
    assert waits == [0, 1, 3, 5, 5]
    clock[0] += 61
    assert restarts.may_start()
    assert restarts.failures == 1


def test_a_log_that_cannot_be_written_is_said_and_the_worker_comes_back_once_it_can(start: Callable[..., Up]) -> None:
    up = start()
    until(lambda: up.get("/health")["workers"] == 1)
    log = up.data / "logs" / "worker.log"
    log.unlink()
    log.mkdir()
    os.kill(up.main_of("-A worker.app worker"), signal.SIGKILL)
    until(lambda: "the worker cannot be started, will try again: Is a directory" in up.text())
    log.rmdir()
    until(lambda: any("-A worker.app worker" in line for line in up.processes().values()))
    assert up.process.poll() is None


def test_a_broker_that_keeps_ending_ends_the_studio_with_a_sentence(start: Callable[..., Up]) -> None:
    up = start()
    until(lambda: up.get("/health")["broker"] == "ok")
    files = up.data / "broker" / "appendonlydir"
    for file in files.iterdir():
        file.unlink()
    files.rmdir()
    files.write_text("not a folder")
    os.kill(up.main_of("valkey-server"), signal.SIGKILL)
    assert up.process.wait(120) == 1
    assert "the embedded broker ended 6 times in a row" in up.text()
    assert "no run is lost" in up.text()
    assert "Traceback" not in up.text()
    assert up.processes() == {}
