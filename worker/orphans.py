"""Finds processes of training attempts whose supervisor is gone, by the marks in their environment.

A guard takes its tree down by itself; this is for the one case in which it cannot: the guard itself was SIGKILLed. Linux
only, elsewhere nothing is found and the guard's own means have to do.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

RUN, SUPERVISOR = "COPG_RUN", "COPG_SUPERVISOR"


def marks(uid: str, fence: int) -> dict[str, str]:
    """What goes into the environment of everything that an attempt starts."""
    return {RUN: f"{uid}:{fence}", SUPERVISOR: identity(os.getpid())}


def identity(pid: int) -> str:
    """`pid:start time`, so that a process that got a dead one's number is not taken for it. Empty where there is none."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return ""
    return "" if after_name[0] in (b"Z", b"X") else f"{pid}:{after_name[19].decode()}"


def sweep_attempt(uid: str, fence: int) -> int:
    """Kill what is left of one attempt. Returns how many processes that were."""
    return _sweep(lambda mark: mark.get(RUN) == f"{uid}:{fence}")


def sweep_abandoned() -> int:
    """Kill what is left of every attempt on this machine whose supervisor is dead; for a worker's start."""

    def abandoned(mark: dict[str, str]) -> bool:
        supervisor = mark.get(SUPERVISOR, "")
        pid = supervisor.partition(":")[0]
        return pid.isdigit() and identity(int(pid)) != supervisor

    return _sweep(abandoned)


def _sweep(matches: Callable[[dict[str, str]], bool]) -> int:
    killed: set[int] = set()
    for _ in range(100):  # a tree that forks while it is swept needs several passes
        found = {pid for pid, mark in _marked() if matches(mark)}
        if not found:
            break
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        killed |= found
        time.sleep(0.02)
    return len(killed)


def _marked() -> list[tuple[int, dict[str, str]]]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        with contextlib.suppress(OSError):
            environment = (entry / "environ").read_bytes()
            if pid != os.getpid() and f"{RUN}=".encode() in environment and identity(pid):
                pairs = (item.decode(errors="replace").partition("=") for item in environment.split(b"\0"))
                found.append((pid, {name: value for name, _, value in pairs if name in (RUN, SUPERVISOR)}))
    return found
