"""What runs inside the sandbox: each test of a program in a process of its own, and a verdict that the program cannot print.

This file is handed to a bare interpreter as text: standard library only, Linux only. A job is read from standard input,
{"code": ..., "setup": ..., "tests": [...], "seconds": ..., "memory": MiB}; a list of booleans is written to standard output.

A test passes where its process wrote this test's nonce into its own pipe after the last statement of the test, and then left
with status 0. What the program prints, how it exits and what it raises count for nothing. A program that looks for the nonce in
its own process (tracebacks, the garbage collector) can still find it, as one whose objects equal everything passes a test: this
keeps code from hurting, and from passing by accident or by the common tricks, not from cheating by all means.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import select
import signal
import sys
import time
from typing import Any, NoReturn

# System calls that a tested program has no business with, by machine: processes (fork, vfork, execve, execveat, kill, ptrace,
# process_vm_*, pidfd_*), sockets, name spaces and mounts, keys, modules, memory that no limit counts (shmget, memfd,
# io_uring, bpf, userfaultfd), signals by other names (tkill, tgkill, rt_*sigqueueinfo) and the scheduler's settings.
_DENIED = {
    "x86_64": (57, 58, 59, 322, 62, 101, 310, 311, 424, 434, 438, 41, 165, 166, 155, 272, 308, 248, 249, 250, 175, 313, 304,
               29, 319, 425, 321, 323, 298, 200, 234, 129, 297, 203, 144, 314, 141),
    "aarch64": (221, 281, 129, 117, 270, 271, 424, 434, 438, 198, 40, 39, 41, 97, 268, 217, 218, 219, 105, 273, 265,
                194, 279, 425, 280, 282, 241, 130, 131, 138, 240, 122, 119, 274, 140),
}  # fmt: skip
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3 = 435
_PRLIMIT = {"x86_64": 302, "aarch64": 261}
_CLONE_THREAD = 0x00010000
_X32 = 0x40000000
_ALLOW, _KILL, _REFUSE, _UNKNOWN = 0x7FFF0000, 0x80000000, 0x00050000 | 1, 0x00050000 | 38
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _PR_SET_DUMPABLE, _FILTER = 38, 22, 4, 2
OPEN_FILES = 64
NONCE_BYTES = 16


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("len", ctypes.c_uint16), ("filter", ctypes.POINTER(_Instruction)))


def _filter(machine: str) -> list[tuple[int, int, int, int]]:
    """The seccomp program: threads may be started, processes may not, and nothing of _DENIED may be called."""
    rules = [
        (_LOAD, 0, 0, 4),  # the machine whose numbers follow
        (_EQUAL, 1, 0, _AUDIT[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),  # the call's number
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _REFUSE),
        (_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _UNKNOWN),  # its flags cannot be seen; the C library falls back to clone
        (_EQUAL, 0, 4, _CLONE[machine]),
        (_LOAD, 0, 0, 16),  # clone's flags
        (_ANY_BIT, 0, 1, _CLONE_THREAD),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
        (_EQUAL, 0, 4, _PRLIMIT[machine]),
        (_LOAD, 0, 0, 16),  # whose limits: its own (0) it may lower, the harness's it may not touch
        (_EQUAL, 0, 1, 0),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    for call in _DENIED[machine]:
        rules += [(_EQUAL, 0, 1, call), (_RETURN, 0, 0, _REFUSE)]
    return [*rules, (_RETURN, 0, 0, _ALLOW)]


def _confine(memory: int, seconds: float) -> None:
    """Limits and the filter of system calls, for this process and for good."""
    cpu = int(seconds) + 1
    for limit, value in (
        (resource.RLIMIT_AS, memory * 2**20),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_NPROC, OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    rules = _filter(platform.machine())
    array = (_Instruction * len(rules))(*(_Instruction(*rule) for rule in rules))
    program = _Program(len(rules), array)
    libc = ctypes.CDLL(None, use_errno=True)
    for call in ((_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_PR_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0)):
        if libc.prctl(*call) != 0:
            raise OSError(ctypes.get_errno(), "the filter of system calls cannot be installed")


def _candidate(job: dict[str, Any], test: str, verdict: int, nonce: bytes, seconds: float) -> NoReturn:
    """Run program, set-up and test, and leave. The program may replace what it likes in `os` and `sys`: it is not used."""
    write, leave, run, translate = os.write, os._exit, exec, compile
    del sys._getframe  # the shortest way to this frame and its nonce; others remain (see the module's docstring)
    try:
        silent = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(silent, standard)
        _confine(job["memory"], seconds)
        names: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
        for name, text in (("<completion>", job["code"]), ("<setup>", job["setup"]), ("<test>", test)):
            # Not with this file's own __future__: its annotations would hide a missing import of the program.
            run(translate(text, name, "exec", dont_inherit=True), names)
        write(verdict, nonce)
        leave(0)
    except BaseException:  # noqa: BLE001 - whatever it is, SystemExit and MemoryError too, the test failed
        leave(1)


def _passes(job: dict[str, Any], test: str, deadline: float) -> bool:
    nonce = os.urandom(NONCE_BYTES)
    reader, writer = os.pipe()
    seconds = max(deadline - time.monotonic(), 0.0)
    child = os.fork()
    if child == 0:
        os.close(reader)
        _candidate(job, test, writer, nonce, seconds)
    os.close(writer)
    said, status = b"", None
    while (left := deadline - time.monotonic()) > 0 and select.select([reader], [], [], left)[0]:
        chunk = os.read(reader, NONCE_BYTES + 1)
        if not chunk:
            break
        said = (said + chunk)[: NONCE_BYTES + 1]
    while status is None and time.monotonic() < deadline:
        ended, code = os.waitpid(child, os.WNOHANG)
        status = code if ended else None
        if status is None:
            time.sleep(0.001)
    if status is None:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    os.close(reader)
    return said == nonce and status == 0


def main() -> None:
    """One job. Every test has an equal share of the time, and what one does not use passes on to the next."""
    job = json.loads(sys.stdin.buffer.read())
    # Nobody in here may look into this process: it knows the verdicts.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    start, tests = time.monotonic(), job["tests"]
    slices = [start + job["seconds"] * (number + 1) / len(tests) for number in range(len(tests))]
    verdicts = [_passes(job, test, deadline) for test, deadline in zip(tests, slices, strict=True)]
    sys.stdout.write(json.dumps(verdicts))


if __name__ == "__main__":
    main()
