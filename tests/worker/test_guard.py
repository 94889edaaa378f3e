"""Whatever happens to the starter, the guard leaves nothing of its tree."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from tests.waiting import until
from worker import guard, orphans

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for survivors in /proc")

# A launcher with a rank in a session of its own, and a daemon that forks twice; all say when they are there.
TREE = """
import os, subprocess, sys, time, pathlib
there = pathlib.Path(sys.argv[1])
sleeper = "import pathlib, sys, time; pathlib.Path(sys.argv[1], str(sys.argv[2])).touch(); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", sleeper, str(there), "rank"], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", sleeper, str(there), "daemon"])
    os._exit(0)
(there / "launcher").touch()
time.sleep(600)
"""


class Guarded:
    def __init__(self, folder: Path, code: str, freeze: float = 0, grace: float = 30, quick: float = 0.2) -> None:
        self.uid = uuid.uuid4().hex
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, str(freeze), str(grace), str(quick), "--",
             sys.executable, "-c", code, str(folder)],
            stdin=subprocess.PIPE, env=dict(os.environ) | orphans.marks(self.uid, 1),
        )  # fmt: skip

    def tell(self, byte: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(byte)
        self.process.stdin.flush()

    def hang_up(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def wait_for(self, *names: str) -> None:
        until(lambda: all((self.folder / name).exists() for name in names))

    def survivors(self) -> list[int]:
        return [pid for pid, mark in orphans._marked() if mark.get(orphans.RUN) == f"{self.uid}:1"]


def close(guarded: Guarded) -> None:
    if guarded.process.stdin is not None and not guarded.process.stdin.closed:
        guarded.process.stdin.close()
    guarded.process.wait(30)


@pytest.mark.parametrize("end", ["eof", "freeze", "quick"])
def test_nothing_of_the_tree_survives(tmp_path: Path, end: str) -> None:
    guarded = Guarded(tmp_path, TREE, freeze=8 if end == "freeze" else 0)
    guarded.wait_for("launcher", "rank", "daemon")
    assert len(guarded.survivors()) == 4  # guard, launcher, rank, daemon
    if end == "eof":
        guarded.hang_up()
    elif end == "quick":
        guarded.tell(b"Q")
    code = guarded.process.wait(30)
    expected = {"eof": guard.ABANDONED, "freeze": guard.FROZEN, "quick": 128 + signal.SIGTERM}
    assert code == expected[end]
    assert guarded.survivors() == []
    close(guarded)


def test_ranks_do_not_outlive_a_launcher_that_ends_well(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, TREE[: TREE.rindex("time.sleep")])
    assert guarded.process.wait(30) == 0
    assert guarded.survivors() == []
    close(guarded)


def test_the_command_gets_time_for_its_checkpoint_and_its_exit_code_comes_through(tmp_path: Path) -> None:
    code = (
        "import pathlib, signal, sys, time\n"
        "def save(*_):\n    time.sleep(0.3); sys.exit(75)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "pathlib.Path(sys.argv[1], 'ready').touch()\n"
        "while True: time.sleep(0.05)\n"
    )
    guarded = Guarded(tmp_path, code, grace=30)
    guarded.wait_for("ready")
    guarded.process.send_signal(signal.SIGTERM)
    assert guarded.process.wait(30) == 75
    close(guarded)


def test_one_that_does_not_listen_is_killed_after_its_grace(tmp_path: Path) -> None:
    code = (
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "pathlib.Path(sys.argv[1], 'ready').touch()\n"
        "time.sleep(600)\n"
    )
    guarded = Guarded(tmp_path, code, grace=600, quick=0.3)
    guarded.wait_for("ready")
    guarded.tell(b"T")
    guarded.tell(b"Q")  # a cancel that comes while it drains shortens its time
    assert guarded.process.wait(30) == guard.OVERRAN
    assert guarded.survivors() == []
    close(guarded)


def test_pulses_keep_it_alive(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, "import time; time.sleep(6)", freeze=4)
    while guarded.process.poll() is None:
        guarded.tell(b".")
        time.sleep(0.1)
    assert guarded.process.returncode == 0
    close(guarded)


def test_when_the_guard_itself_is_killed_the_sweep_finds_the_rest(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, TREE)
    guarded.wait_for("launcher", "rank", "daemon")
    guarded.process.kill()
    guarded.process.wait(30)
    until(lambda: len(guarded.survivors()) == 2)  # the launcher dies with its guard, rank and daemon do not
    assert orphans.sweep_abandoned() == 0  # their supervisor, this process, is alive
    assert orphans.sweep_attempt(guarded.uid, 2) == 0
    assert orphans.sweep_attempt(guarded.uid, 1) == 2
    until(lambda: guarded.survivors() == [])
    close(guarded)


def test_a_worker_clears_away_what_a_dead_supervisor_left(tmp_path: Path) -> None:
    starter = subprocess.Popen([sys.executable, "-c", "pass"])
    identity = orphans.identity(starter.pid)
    starter.wait()
    marks = {orphans.RUN: f"{uuid.uuid4().hex}:1", orphans.SUPERVISOR: identity or f"{starter.pid}:0"}
    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env=dict(os.environ) | marks)
    until(lambda: any(pid == orphan.pid for pid, _ in orphans._marked()))
    assert orphans.sweep_abandoned() == 1
    assert orphan.wait(30) == -signal.SIGKILL
