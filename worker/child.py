"""The process that trains: reads a job file, calls `copg_core.train.train` (for a trial `copg_core.trial.answer`), writes
events to the spool.

It knows neither the database nor the broker. SIGTERM asks it to write a checkpoint and stop.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from copg_core.errors import CheckpointError, CopgError, StorageError
from copg_core.events import Event, Failed, Recorder
from copg_core.trial_config import JOB_CONFIG, TrialConfig
from worker.run_log import RunLog
from worker.spool import SpoolRecorder

TRAIN, ANSWER = "copg_core.train:train", "copg_core.trial:answer"
FINISHED, FAILED, BROKEN, DISK, STOPPED = 0, 65, 70, 74, 75
"""Exit codes: done; a CopgError; a bug; the spool itself cannot be written; stopped after a checkpoint."""


class _StopFlag:
    """`should_stop` of the training loop, set by SIGTERM."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True

    def __call__(self) -> bool:
        return self.asked


class _FailureAlone:
    """The spool of a process that is not the first of its run: the first one speaks for all, but of what fails only here
    it never hears."""

    def __init__(self, spool: SpoolRecorder) -> None:
        self._spool = spool

    def record(self, event: Event) -> None:
        if isinstance(event, Failed):
            self._spool.record(event)


class _SpoolAndLog:
    """Everything goes to the spool; what a person would read goes to standard output too, which is the run's log."""

    def __init__(self, spool: SpoolRecorder, log: RunLog) -> None:
        self._spool = spool
        self._log = log

    def record(self, event: Event) -> None:
        self._spool.record(event)
        self._log.record(event)


def run(job: dict[str, Any]) -> int:
    """Train as the job says; the exit code tells the supervisor how it ended."""
    log = RunLog(os.environ)
    should_stop = _StopFlag()  # before the slow imports, so that a run can be stopped from its first moment
    try:
        spool = SpoolRecorder(Path(job["spool"]))
    except OSError as error:
        log.error(f"{job['spool']} cannot be written: {error.strerror}")
        return DISK
    try:
        try:
            recorder = _SpoolAndLog(spool, log) if os.environ.get("RANK", "0") == "0" else _FailureAlone(spool)
            outcome = _train(job, recorder, should_stop)
        except CopgError as error:
            spool.record(Failed(kind=error.kind, message=str(error)))
            log.error(f"{error.kind} error: {error}")
            return FAILED
        except Exception as error:  # noqa: BLE001 - whatever it is, the user is told and the log has the rest
            log.unforeseen(error)
            problem, kind = _explain(error)
            spool.record(Failed(kind=kind, message=problem))
            return BROKEN if kind == "internal" else FAILED
    except StorageError as error:
        log.error(str(error))
        return DISK
    finally:
        spool.close()
    return FINISHED if outcome.finished else STOPPED


def _train(job: dict[str, Any], recorder: Recorder, should_stop: Callable[[], bool]) -> Any:
    outputs: dict[str, str] = job["parents"]
    damaged: dict[str, str] = job.get("damaged", {})

    def resolve(run: str) -> Path:
        if run in outputs:
            return Path(outputs[run])
        if run in damaged:
            raise StorageError(damaged[run])
        if "/" not in run:
            raise CheckpointError(f"the output of run {run} is not known to this machine")
        return Path(run)

    config = JOB_CONFIG.validate_python(job["config"])
    named = ANSWER if isinstance(config, TrialConfig) else job.get("train", TRAIN)
    module, _, function = named.partition(":")
    work = getattr(importlib.import_module(module), function)
    return work(
        config,
        recorder,
        should_stop,
        folder=Path(job["folder"]),
        resume_from=Path(job["resume_from"]) if job["resume_from"] else None,
        resolve_run=resolve,
        cache_folder=Path(job["cache_folder"]),
        data_folder=Path(job["data_folder"]) if job.get("data_folder") else None,
        prune=False,  # the supervisor does, after it has registered the newer one
    )


def _explain(error: Exception) -> tuple[str, str]:
    """A sentence and an error kind for what no CopgError foresaw."""
    if isinstance(error, OSError) and error.errno in (28, 122):  # ENOSPC, EDQUOT
        return f"The disk is full: {error}", "storage"
    if isinstance(error, PermissionError):
        return f"A file may not be read or written: {error}", "storage"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return (
            f"Memory ran out; a smaller micro-batch needs less: {(str(error).splitlines() or [type(error).__name__])[0]}",
            "memory",
        )
    return f"Unexpected {type(error).__name__}: {error}. The log has the details.", "internal"


def main() -> int:
    RunLog(os.environ).configure()
    return run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))


if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is on disk. Taking torch and CUDA apart in order takes seconds that a person who cancelled waits for.
    os._exit(exit_code)
