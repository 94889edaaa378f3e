"""Parent of one process tree, which it takes down with it whatever happens to whoever started it.

    python guard.py FREEZE GRACE QUICK -- command...

The starter holds the other end of standard input and writes single bytes:

* ``.``  it is alive. Silence for FREEZE seconds (0: never) kills the tree: the starter is frozen, its lease runs out, and
  somebody else may be given the run.
* ``T``  stop politely: SIGTERM to the command, SIGKILL to the tree after GRACE seconds.
* ``Q``  stop quickly: the same with QUICK seconds.
* end of file: the starter is dead; the tree is killed at once.

SIGTERM to the guard itself means ``T``. Exit code: the command's, 128 + n where signal n ended it, or the constants below.
On Linux the guard is a subreaper, so that not even a daemon that forked twice escapes; elsewhere the tree is what `ps` says
plus the command's own session. Standard library only: it must start in milliseconds and never fail to import.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

OVERRAN, ABANDONED, FROZEN = 96, 97, 98
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 4, 36
_LINUX = sys.platform == "linux"
_libc = ctypes.CDLL(None, use_errno=True) if _LINUX else None


def descendants(root: int) -> list[int]:
    """Every process below `root`, nearest first."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found, level = [], [root]
    while level:
        level = [child for pid in level for child in children.get(pid, ())]
        found += level
    return found


def _parents() -> list[tuple[int, int]]:
    """(pid, parent's pid) of every live process; zombies are left out."""
    if not _LINUX:
        listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=False)
        rows = [line.split() for line in listing.stdout.splitlines()]
        return [(int(row[0]), int(row[1])) for row in rows if len(row) == 3 and not row[2].startswith("Z")]
    pairs = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names are enough, and this runs in a loop
        if entry.isdigit():
            with contextlib.suppress(OSError):
                # The name in parentheses may hold anything, so fields are counted from the last parenthesis.
                state, parent = Path("/proc", entry, "stat").read_bytes().rpartition(b")")[2].split()[:2]
                if state not in (b"Z", b"X"):
                    pairs.append((int(entry), int(parent)))
    return pairs


def kill_tree() -> None:
    """SIGKILL everything below this process until nothing is left, also what is adopted meanwhile."""
    while True:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        left = descendants(os.getpid())
        if not _LINUX and _session is not None:
            with contextlib.suppress(OSError):
                os.killpg(_session, signal.SIGKILL)
        if not left:
            return
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


_session: int | None = None


def _die_with_guard() -> None:
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _say(sentence: str) -> None:
    """To the log of what is guarded, in the form of its other lines (backend/logs.py, which cannot be imported here)."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    line = f"{moment[11:]}Z {sentence}"
    if os.environ.get("COPG_LOG_FORMAT") == "json":
        uid, _, fence = os.environ.get("COPG_RUN", "").rpartition(":")
        about = {"run": uid, "attempt": int(fence)} if uid else {}
        said = {"time": f"{moment}.000Z", "level": "warning", "logger": "guard", "message": sentence}
        line = json.dumps(said | about)
    with contextlib.suppress(OSError):
        os.write(2, f"{line}\n".encode())


def main(argv: list[str]) -> int:
    """Run the command until it ends or must end; nothing of it is left when this returns."""
    global _session
    freeze, grace, quick = (float(value) for value in argv[:3])
    command = argv[argv.index("--") + 1 :]
    if _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        if "COPG_RUN" not in os.environ:
            # A worker's guard was given the database's address, which a training process of the same user could read in
            # /proc. A training's own guard has nothing to hide, and has to be found by its mark.
            _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    asked: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the starter's to handle
    # This process has one thread, so a function between fork and exec is safe.
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, preexec_fn=_die_with_guard, start_new_session=True, close_fds=True
    )
    _session = process.pid
    heard = time.monotonic()
    deadline: float | None = None
    while (code := process.poll()) is None:
        ready, _, _ = select.select([0], [], [], 0.05)
        now = time.monotonic()
        received = os.read(0, 4096) if ready else b"."
        if not received:
            _say("the worker is gone: the training is ended")
            kill_tree()
            return ABANDONED
        if ready:
            heard = now
        if freeze and now - heard > freeze:
            _say(f"the worker was not heard of for {freeze:g} s: the training is ended before its lease runs out")
            kill_tree()
            return FROZEN
        stops = [limit for byte, limit in ((b"Q", quick), (b"T", grace)) if byte in received]
        if asked:
            asked.clear()
            stops.append(grace)
        if stops:
            if deadline is None:
                process.send_signal(signal.SIGTERM)
            deadline = min([now + min(stops)] + ([deadline] if deadline is not None else []))
        if deadline is not None and now > deadline:
            _say("the training did not stop in the time that it was given: it is ended")
            kill_tree()
            return OVERRAN
    kill_tree()  # ranks and data loaders that outlived their launcher
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
