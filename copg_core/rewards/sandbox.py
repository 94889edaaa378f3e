"""Runs untrusted programs in a sandbox of name spaces (bubblewrap), limits and a filter of system calls, or not at all.

What a program finds: Python's standard library and the system's shared libraries, read-only; no other file, nowhere to write,
no network, no /proc, no environment, no capability, no other process, a user of its own. `harness.py` runs in there.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from copg_core.errors import ConfigError, RewardError

HARNESS = Path(__file__).with_name("harness.py")
MACHINES = ("x86_64", "aarch64")
NOBODY = "65534"
# Beyond the program's own time limit, which the harness keeps: starting up on a busy machine.
GRACE_SECONDS = 30.0
INSTALL = (
    "install bubblewrap (`apt-get install bubblewrap` or `dnf install bubblewrap`) on the machine that trains, and allow "
    "unprivileged user name spaces there (in Docker: `--security-opt seccomp=unconfined`); programs are never run without "
    "a sandbox"
)


@dataclass(frozen=True)
class Limits:
    """Of one program with all its tests: wall-clock and CPU seconds, and MiB of address space."""

    seconds: float = 10.0
    memory: int = 512


class Sandbox:
    """A sandbox that was tried out: the probe program failed to get out of it. Raises ConfigError where there is none."""

    def __init__(self) -> None:
        self._command = _command()
        self._probe()

    def run(self, code: str, tests: Sequence[str], setup: str = "", limits: Limits | None = None) -> list[bool]:
        """Which tests a program passes. Each runs in a process of its own, after the program and the set-up.

        Raises RewardError where the sandbox itself fails twice: that is no verdict on the program.
        """
        limits = limits or Limits()
        job = {"code": code, "setup": setup, "tests": list(tests), "seconds": limits.seconds, "memory": limits.memory}
        if not tests:
            return []
        try:
            verdicts = self._verdicts(json.dumps(job), limits.seconds + GRACE_SECONDS)
        except RewardError:  # a machine that was too busy for once must not end a run of hours
            verdicts = self._verdicts(json.dumps(job), limits.seconds + GRACE_SECONDS)
        if len(verdicts) != len(tests):
            raise RewardError(f"the sandbox answered {len(verdicts)} verdicts for {len(tests)} tests")
        return verdicts

    def _verdicts(self, job: str, seconds: float) -> list[bool]:
        try:
            # Nothing of our environment goes in; when bwrap dies, its process name space and all in it die with it.
            done = subprocess.run(
                self._command,
                input=job,
                capture_output=True,
                text=True,
                timeout=seconds,
                env={},
                cwd="/",
                start_new_session=True,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RewardError(f"the sandbox for unit tests failed: {error}") from error
        try:
            if done.returncode == 0 and not done.stderr:
                return [verdict is True for verdict in json.loads(done.stdout)]
        except (ValueError, TypeError):
            pass
        reason = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise RewardError(f"the sandbox for unit tests failed: {reason}")

    def _probe(self) -> None:
        """Let a program try to get out. Raises ConfigError with what it managed, or with why nothing runs at all."""
        code, tests = probe_program()
        try:
            verdicts = self.run(code, [test for _, test in tests], limits=Limits(seconds=30.0))
        except RewardError as error:
            raise ConfigError(f"unit tests cannot be run here: {error}. To use this reward, {INSTALL}") from error
        leaks = [name for (name, _), verdict in zip(tests, verdicts, strict=True) if not verdict]
        if leaks:
            raise ConfigError(
                f"unit tests are not run here, because the sandbox does not hold: {', '.join(leaks)}. {INSTALL}"
            )


@cache
def the_sandbox() -> Sandbox:
    """The sandbox of this machine, probed once in each process."""
    return Sandbox()


def probe_program() -> tuple[str, list[tuple[str, str]]]:
    """A program that tries to escape, and named tests of it that pass where it did not manage to."""
    secret = Path("~").expanduser()
    code = f"""
import os, socket, sys

def fails(attempt):
    try:
        attempt()
    except OSError:
        return True
    return False

def reads(path):
    return lambda: os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(1)

def visible(path):
    # The interpreter itself may lie below the home folder; nothing else of it may be seen.
    return [name for name in os.listdir(path) if not {sys.base_prefix!r}.startswith(os.path.join(path, name))]
"""
    home = json.dumps(str(secret))
    return code, [
        ("it does not run Python", "assert sum(range(10)) == 45"),
        ("it reads the system's files", "assert fails(reads('/etc/passwd')) and fails(reads('/proc'))"),
        ("it reads the home folder", f"assert not os.path.exists({home}) or not visible({home})"),
        ("it sees the environment", "assert not set(os.environ) - {'PWD', 'LC_CTYPE', 'LD_LIBRARY_PATH'}"),
        (
            "it writes files",
            f"assert all(fails(lambda p=p: open(p + '/probe', 'w')) for p in ('/', '/tmp', '/dev', '/dev/shm', {home}))",
        ),
        (
            "it reaches the network",
            "assert fails(lambda: socket.create_connection(('1.1.1.1', 53), 1)) and fails(socket.socket)",
        ),
        ("it starts processes", "assert fails(os.fork) and fails(lambda: os.execv(sys.executable, ['python']))"),
        ("it signals processes", "assert fails(lambda: os.kill(os.getppid(), 0))"),
        (
            "it limits its harness",
            "import resource\nassert fails(lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CPU))",
        ),
    ]


def _command() -> list[str]:
    """The command line of the sandbox, up to the harness. Raises ConfigError where this machine cannot have one."""
    if sys.platform != "linux" or platform.machine() not in MACHINES:
        raise ConfigError(
            f"unit tests run in a sandbox of Linux on {' or '.join(MACHINES)}, but this is {sys.platform} on "
            f"{platform.machine()}: train on another machine, or choose another reward"
        )
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise ConfigError(f"the reward from unit tests needs the program bwrap: {INSTALL}")
    python = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    libraries = Path(sys.base_prefix) / "lib"  # its standard library, and what its modules are linked with
    # Of the interpreter that a virtual environment was made from: packages installed into that are not for programs.
    own = {"base": sys.base_prefix, "installed_base": sys.base_prefix, "platbase": sys.base_exec_prefix}
    seen = [python, libraries, *(Path(sysconfig.get_path(name, vars=own)) for name in ("stdlib", "platstdlib"))]
    mounts: list[str] = []
    for folder in ("/usr/lib", "/usr/lib64", "/lib", "/lib64"):
        if Path(folder).is_symlink():
            mounts += ["--symlink", str(Path(folder).readlink()), folder]
        elif Path(folder).is_dir():
            mounts += ["--ro-bind", folder, folder]
    for path in dict.fromkeys(map(str, seen)):
        if path != "/usr/lib":
            mounts += ["--ro-bind", path, path]
    confined = [
        # As the first process of its name space the harness cannot be killed by a signal from inside it.
        *(
            "--unshare-user",
            "--unshare-all",
            "--as-pid-1",
            "--new-session",
            "--die-with-parent",
            "--hostname",
            "sandbox",
        ),
        *("--uid", NOBODY, "--gid", NOBODY, "--cap-drop", "ALL"),
    ]
    return [
        *(bwrap, *confined, *mounts, "--dev-bind", "/dev/null", "/dev/null", "--remount-ro", "/", "--chdir", "/"),
        *("--setenv", "LD_LIBRARY_PATH", str(libraries)),
        *("--", str(python), "-I", "-S", "-B", "-c", HARNESS.read_text(encoding="utf-8")),
    ]
