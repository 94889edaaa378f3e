"""The sandbox against programs that mean harm. Each must get no reward, and leave no trace."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from copg_core.errors import ConfigError, RewardError
from copg_core.rewards import sandbox
from copg_core.rewards.sandbox import Limits, Sandbox, probe_program
from tests.core.rewards_bench import sandbox_or_skip

SHORT = Limits(seconds=1.0, memory=256)
FIRST_TEST = "assert f(1) == 2"


@pytest.fixture(scope="module")
def box() -> Sandbox:
    return sandbox_or_skip()


def test_each_test_has_its_own_verdict(box: Sandbox) -> None:
    code = "import math\ndef f(x):\n    return x + 1"
    tests = ["assert f(1) == 2", "assert f(1) == 3", "assert g(1)", "assert math.floor(f(1.5)) == 2", "assert f('a')"]
    assert box.run(code, tests) == [True, False, False, True, False]
    assert box.run(code, ["assert f(start) == 6"], setup="start = 5") == [True]
    assert box.run("def f(:", ["assert True"]) == [False], "what is no Python passes nothing"
    assert box.run(code, []) == []


def test_a_program_is_compiled_as_if_it_stood_alone(box: Sandbox) -> None:
    """What this harness imports from the future must not excuse a missing import, nor turn annotations into text."""
    assert box.run("def f(x: List[int]):\n    return x[0]", ["assert f([1]) == 1"]) == [False]
    assert box.run("def f(x: int): return x", ["assert f.__annotations__['x'] is int"]) == [True]


def test_a_parent_cannot_be_killed_by_input_signals(box: Sandbox) -> None:
    code = """
import fcntl, os, time
r, w = os.pipe()
fcntl.fcntl(r, fcntl.F_SETOWN, os.getppid())
fcntl.fcntl(r, 10, 9)  # F_SETSIG: SIGKILL
fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC)
os.write(w, b"x")
time.sleep(0.2)
def f(x): return x
"""
    assert box.run(code, ["assert f(1) == 1"]) == [True]  # it got nowhere, and the harness still answers


def test_a_test_that_spoils_things_spoils_them_for_itself_only(box: Sandbox) -> None:
    code = "seen = []\ndef f(x):\n    seen.append(x)\n    return len(seen)"
    tests = ["while True: pass", "assert f(1) == 1", "assert f(1) == 1"]
    assert box.run(code, tests, limits=Limits(seconds=9.0, memory=256)) == [False, True, True]


# Each of these would count as a success if output, exit status or the absence of an exception were believed.
FORGED = {
    "leaves with status 0 before the tests": "import os\nos._exit(0)",
    "leaves politely": "import sys\nsys.exit(0)",
    "prints success": "print('[true]')\nprint('OK', 'passed', True)\nraise SystemExit",
    "writes to every pipe it has and leaves": """
import os
for fd in range(3, 64):
    try:
        os.write(fd, b'[true]')
    except OSError:
        pass
os._exit(0)""",
    "writes a nonce of its own": """
import os
for fd in range(3, 64):
    try:
        os.write(fd, os.urandom(16))
    except OSError:
        pass
os._exit(0)""",
    "makes leaving succeed": "import os, sys\nos._exit = sys.exit = lambda code=0: None\ndef f(x): return 0",
    "replaces the assertion error": "import builtins\nbuiltins.AssertionError = type('A', (BaseException,), {})\ndef f(x): return 0",
    "swallows exceptions by a hook": "import sys\nsys.excepthook = lambda *a: None\ndef f(x): return 0",
    "leaves at exit with success": "import atexit, os\natexit.register(os._exit, 0)\ndef f(x): return 0",
    "answers signals": "import signal, os\nsignal.signal(signal.SIGALRM, lambda *a: os._exit(0))\nsignal.alarm(1)\ndef f(x): return 0",
    "skips the test by an exception": "def f(x): raise StopIteration",
    "sends a keyboard interrupt": "def f(x): raise KeyboardInterrupt",
    "traces its own test": """
import sys
def trace(frame, event, arg):
    return trace
sys.settrace(trace)
def f(x): return 0""",
    "crashes the interpreter": "import ctypes\nctypes.string_at(0)",
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_success_does_not_count(box: Sandbox, name: str) -> None:
    assert box.run(FORGED[name], [FIRST_TEST], limits=SHORT) == [False]


def _escapes(action: str) -> str:
    """A program whose function answers right only where the action worked."""
    return f"import os, sys, socket, subprocess, threading, ctypes, pathlib, signal, shutil\ndef f(x):\n{action}\n    return 2"


# Each test of these passes only where the harm was done.
HARM = {
    "reads the users of the machine": "    open('/etc/passwd').read()",
    "reads the home folder": f"    assert [n for n in os.listdir({str(Path.home())!r}) if not sys.base_prefix.startswith(os.path.join({str(Path.home())!r}, n))]",
    "reads the project": f"    open({str(Path(__file__))!r}).read()",
    "reads a secret of the environment": "    assert os.environ['COPG_SANDBOX_SECRET']",
    "reads the memory of its parent": "    open(f'/proc/{os.getppid()}/mem', 'rb')",
    "reads other processes": "    os.listdir('/proc')",
    "writes a file": "    open('/tmp/x', 'w').write('x')",
    "fills the disk": "    f = open('x', 'wb')\n    while True: f.write(bytes(1 << 20))",
    "fills memory that is a file": "    fd = os.memfd_create('x')\n    os.ftruncate(fd, 1 << 30)",
    "deletes the interpreter": "    os.remove(os.__file__)",
    "deletes everything": "    shutil.rmtree('/usr/lib')",
    "opens a connection": "    socket.create_connection(('1.1.1.1', 53), 1)",
    "listens": "    socket.socket().bind(('127.0.0.1', 0))",
    "starts a process": "    subprocess.run(['/bin/true'])",
    "forks": "    os.fork()",
    "becomes another program": "    os.execv(sys.executable, ['python'])",
    "kills its parent": "    os.kill(os.getppid(), signal.SIGKILL)",
    "kills everything": "    os.kill(-1, signal.SIGKILL)",
    "kills its parent's thread": "    assert ctypes.CDLL(None).syscall(234, os.getppid(), os.getppid(), 9) == 0",
    "kills its parent by the thread's number": "    assert ctypes.CDLL(None).syscall(200, os.getppid(), 9) == 0",
    "takes its parent's time": "    import resource\n    resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (0, 0))",
    "takes its parent's files": "    import resource\n    resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (0, 0))",
    "traces its parent": "    assert ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0",
    "becomes root": "    os.setuid(0)",
    "makes a name space": "    assert ctypes.CDLL(None).unshare(0x10000000) == 0",
    "raises its limits": "    import resource\n    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "takes all memory": "    x = bytearray(1 << 30)\n    assert len(x) == 1 << 30",
    "takes shared memory": "    assert ctypes.CDLL(None).shmget(0, 1 << 30, 0o1600) >= 0",
    "opens every file there is room for": "    for i in range(1000): os.pipe()",
}


@pytest.mark.parametrize("name", HARM)
def test_harm_is_not_done(box: Sandbox, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COPG_SANDBOX_SECRET", "hunter2")
    assert box.run(_escapes(HARM[name]), [FIRST_TEST], limits=SHORT) == [False]
    assert Path(os.__file__).exists()


WASTEFUL = {
    "loops for ever": "while True: pass",
    "sleeps": "import time\ntime.sleep(1000)",
    "forks without end": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "leaves a daemon behind": "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(1000)",
    "starts threads without end": "import threading, time\nwhile True:\n    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()",
    "keeps a thread alive": "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()\nwhile True: time.sleep(1)",
    "prints without end": "while True: print('x' * 10000, flush=True)",
    "takes memory bit by bit": "x = []\nwhile True: x.append(bytearray(1 << 20))",
    "recurses without end": "import sys\nsys.setrecursionlimit(10**9)\ndef g(): g()\ng()",
    "ignores signals": "import signal\nfor s in range(1, 32):\n    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\nwhile True: pass",
}


def _processes() -> set[int]:
    """Processes of this machine that are descendants of this one."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    mine = {os.getpid()}
    while found := {pid for pid, parent in parents.items() if parent in mine} - mine:
        mine |= found
    return mine


@pytest.mark.parametrize("name", WASTEFUL)
def test_waste_ends_in_time_and_leaves_nothing_running(box: Sandbox, name: str) -> None:
    before, started = _processes(), time.monotonic()
    assert box.run(WASTEFUL[name], [FIRST_TEST], limits=SHORT) == [False]
    assert time.monotonic() - started < sandbox.GRACE_SECONDS
    assert _processes() <= before


def test_an_object_that_equals_everything_passes_and_is_known_to() -> None:
    """The tests are Python in the program's own process, so this cheat is out of the sandbox's reach: docs/rewards.md."""
    code = "class Any:\n    def __eq__(self, other): return True\ndef f(x): return Any()"
    assert sandbox_or_skip().run(code, [FIRST_TEST]) == [True]


# ---------------------------------------------------------------- where there is no sandbox


def test_without_bubblewrap_the_reward_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs the program bwrap: install bubblewrap .*never run without"):
        Sandbox()
    monkeypatch.setattr(sandbox.sys, "platform", "darwin")
    with pytest.raises(ConfigError, match="this is darwin"):
        Sandbox()


def test_a_sandbox_that_cannot_start_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: str(broken))
    with pytest.raises(ConfigError, match=r"No permissions to create new namespace\. To use this reward, install"):
        Sandbox()


def test_a_sandbox_that_does_not_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bare processes under the name of a sandbox: the probe reads what it should not, and the sentence says what."""
    sandbox_or_skip()
    confined = sandbox._command()
    code, tests = probe_program()
    reading = [test for test in tests if "reads" in test[0] or "Python" in test[0]]  # the others would do it
    monkeypatch.setattr(sandbox, "_command", lambda: confined[confined.index("--") + 1 :])
    monkeypatch.setattr(sandbox, "probe_program", lambda: (code, reading))
    with pytest.raises(
        ConfigError, match=r"does not hold: it reads the system's files, it reads the home folder\. install"
    ):
        Sandbox()


def test_a_failure_of_the_sandbox_is_no_verdict(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(box, "_command", ["/bin/sh", "-c", "cat >/dev/null; echo no >&2; exit 3"])
    with pytest.raises(RewardError, match="sandbox for unit tests failed: no"):
        box.run("x = 1", ["assert x"])
