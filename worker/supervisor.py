"""Supervises one attempt: ships its events, keeps its lease, stops it when asked, and says how it ended.

One supervisor occupies one thread of the worker. It trusts nothing to stay alive: not the process, not the database,
not itself (then the guard kills the process, and the next attempt ships what this one left in the spool).
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from backend import claims
from backend.claims import Claim
from backend.database import Database
from backend.run_errors import LeaseLost
from backend.settings import Settings
from backend.states import RunState
from copg_core.events import CheckpointSaved, Event, Failed, Finished
from worker import child, guard, spool
from worker.attempt import AttemptFiles, ProcessTree, write_job
from worker.persist import Shipper, attempt

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 0.1  # spool to database
_POLL_SECONDS = 0.5  # for a cancel, where there is nothing to ship


@dataclass(frozen=True)
class Verdict:
    """What becomes of the run after an attempt."""

    target: RunState
    reason: str
    error: str | None = None
    error_kind: str | None = None
    count_attempt: bool = True
    delay_seconds: float = 0.0


class Supervisor:
    """`run()` trains the claimed run to some end. `draining`: the worker has been asked to leave."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        claim: Claim,
        draining: threading.Event,
        *,
        gpu: str | None = None,
        train: str = child.TRAIN,
    ) -> None:
        self._database, self._settings, self._claim = database, settings, claim
        self._draining, self._gpu, self._train = draining, gpu, train
        self._files = AttemptFiles(settings, claim.uid, claim.fence)
        self._reader = spool.SpoolReader(self._files.spool)
        self._shipper = Shipper(database, claim.run_id, claim.fence, settings.lease_seconds)
        self._cancelling = False
        self._last: Finished | Failed | None = None

    def run(self) -> None:
        """Never raises for what happens to the training; returns early where another attempt took the run over."""
        try:
            verdict = self._attempt()
            self._finish(verdict)
        except LeaseLost as error:
            _log.warning("%s; its process is stopped and nothing more is written", error)

    def _attempt(self) -> Verdict:
        claim = self._claim
        resume_from = self._recover()
        if isinstance(self._last, Finished | Failed):
            return self._verdict(child.FINISHED if isinstance(self._last, Finished) else child.FAILED)
        try:
            write_job(self._files, self._settings, claim, resume_from, self._train)
            tree = ProcessTree(self._files, self._settings, claim, self._gpu)
        except OSError as error:
            problem = f"The worker cannot write the run's folder {self._files.run}: {error.strerror}."
            return Verdict(RunState.FAILED, "the run's folder cannot be written", problem, "storage")
        _log.info("run %s, attempt %d: training from %s", claim.uid, claim.fence, resume_from or "the beginning")
        with tree:
            code = self._watch(tree)
        if code < 0:
            code = 128 - code
        self._drain_spool()
        return self._verdict(code)

    # -- before

    def _recover(self) -> str | None:
        """Ship what a lost attempt left unshipped; the checkpoint to go on from.

        The lost attempt may have written a checkpoint, or even finished, after its supervisor's last word.
        """
        claim = self._claim
        resume_from = claim.checkpoint_path
        if claim.previous_fence is not None:
            left = spool.recover(AttemptFiles(self._settings, claim.uid, claim.previous_fence).spool)
            if left:
                self._shipper.pending = left
                while self._shipper.ship() is None:
                    time.sleep(0.5)
                saved = [event for event in left if isinstance(event, CheckpointSaved)]
                resume_from = saved[-1].path if saved else resume_from
                self._note(left)
        if resume_from is not None and not Path(resume_from).is_dir():
            _log.warning("checkpoint %s is not on this machine: run %s starts again", resume_from, claim.uid)
            return None
        return resume_from

    # -- during

    def _watch(self, tree: ProcessTree) -> int:
        """Ship, renew and listen until the process has ended; its exit code."""
        asked: str | None = None
        shipped = looked = 0.0
        beat = self._settings.lease_seconds / 4
        while (code := tree.poll()) is None:
            self._collect()
            now = time.monotonic()
            if self._shipper.pending or now - shipped > beat:
                self._cancelling |= bool(self._ship())
                shipped = looked = now
            elif now - looked > _POLL_SECONDS:
                self._cancelling |= bool(self._shipper.cancelling())
                looked = now
            if self._cancelling and asked != "cancel":
                tree.stop(quick=True)
                asked = "cancel"
            elif self._draining.is_set() and asked is None:
                tree.stop(quick=False)
                asked = "drain"
            time.sleep(_LOOK_SECONDS)
        return code

    def _collect(self) -> None:
        if len(self._shipper.pending) < 2000:  # the rest stays in the file
            fresh = self._reader.read()
            self._note(fresh)
            self._shipper.pending += fresh

    def _note(self, fresh: list[Event]) -> None:
        for event in fresh:
            if isinstance(event, Finished | Failed):
                self._last = event

    def _ship(self) -> bool | None:
        own = any(
            isinstance(event, CheckpointSaved) and Path(event.path).is_relative_to(self._files.folder)
            for event in self._shipper.pending
        )
        cancelling = self._shipper.ship()
        if own and cancelling is not None:  # registered: the older attempts' checkpoints have done their work
            self._shipper.pending += self._files.drop_older_checkpoints()
        return cancelling

    # -- after

    def _drain_spool(self) -> None:
        """Ship to the last line, however long the database takes."""
        while True:
            self._collect()
            if not self._shipper.pending:
                return
            cancelling = self._ship()
            if cancelling is None:
                time.sleep(0.5)
            self._cancelling |= bool(cancelling)

    def _verdict(self, code: int) -> Verdict:
        """What an exit code means for the run."""
        if code == child.FINISHED and isinstance(self._last, Finished):
            return Verdict(RunState.SUCCEEDED, "finished")
        if self._cancelling:
            return Verdict(RunState.CANCELLED, "stopped")
        if isinstance(self._last, Failed):
            return Verdict(RunState.FAILED, "training failed", self._last.message, self._last.kind)
        if code == child.DISK:
            problem = "The worker's disk is full or may not be written, so the run could not record anything."
            return Verdict(RunState.FAILED, "the spool cannot be written", self._tail() or problem, "storage")
        if self._draining.is_set() and (code in (child.STOPPED, guard.OVERRAN) or code >= 128):
            return Verdict(RunState.QUEUED, "its worker was asked to leave", count_attempt=False)
        if code == child.STOPPED or code >= 128 or code in (guard.OVERRAN, guard.ABANDONED, guard.FROZEN):
            return self._died(code)
        problem = self._tail() or f"Training ended with exit code {code} and without a word."
        return Verdict(RunState.FAILED, f"exit code {code}", problem, "internal")

    def _died(self, code: int) -> Verdict:
        name = (
            _signal_name(code - 128) if code >= 128 else {guard.FROZEN: "a freeze of its worker"}.get(code, "a signal")
        )
        reason = f"the training process was ended by {name}"
        if self._claim.attempt < self._claim.max_attempts:
            return Verdict(RunState.QUEUED, reason, delay_seconds=float(self._claim.attempt))
        hint = " Most often that means that memory ran out." if code == 128 + signal.SIGKILL else ""
        count = self._claim.attempt
        problem = f"The training process was ended by {name}, in the last of {count} attempts.{hint} See the log."
        return Verdict(RunState.FAILED, reason, problem, "worker")

    def _tail(self) -> str:
        """The last line of the log: where nothing else was said, it says most."""
        try:
            with self._files.log.open("rb") as log:
                log.seek(max(0, log.seek(0, 2) - 2000))
                lines = log.read().decode(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1][:500] if lines else ""

    def _finish(self, verdict: Verdict) -> None:
        claim = self._claim
        while True:
            done, reached = attempt(
                self._database,
                lambda session: claims.finish(
                    session, claim.run_id, claim.fence, verdict.target, verdict.reason, verdict.error,
                    verdict.error_kind, count_attempt=verdict.count_attempt, delay_seconds=verdict.delay_seconds,
                ),
            )  # fmt: skip
            if done:
                _log.info("run %s, attempt %d: %s (%s)", claim.uid, claim.fence, reached, verdict.reason)
                return
            time.sleep(0.5)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
