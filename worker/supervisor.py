"""Supervises one attempt: ships its events, keeps its lease, stops it when asked, and says how it ended.

One supervisor occupies one thread of the worker. It trusts nothing to stay alive: not the process, not the database,
not itself (then the guard kills the process, and the next attempt ships what this one left in the spool).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from backend import claims, logs
from backend.artifacts import Kind, Retain
from backend.claims import Claim
from backend.database import Database
from backend.recorded import Record
from backend.run_errors import LeaseLost
from backend.settings import Settings
from backend.states import RunState
from backend.store import Damaged, Interrupted
from backend.telemetry import LEASES_LOST
from copg_core.events import CheckpointSaved, Event, Failed, Finished
from copg_core.trial_config import TrialConfig, only_measured_to
from worker import child, spool, uploads
from worker.artifacts import Keeper
from worker.attempt import AttemptFiles, Inputs, ProcessTree, write_job
from worker.fetch import Fetcher
from worker.meanwhile import meanwhile
from worker.persist import Shipper, attempt
from worker.verdict import Ending, Verdict, faulted, over_time

T = TypeVar("T")
_log = logging.getLogger(__name__)
_LOOK_SECONDS = 0.1  # spool to database
_BUSY_SECONDS = 0.02  # the same while nothing trains and somebody waits
_POLL_SECONDS = 0.5  # for a cancel, where there is nothing to ship
_LOG_SECONDS = 20.0  # that the end of a run waits for its log to reach the store


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
        self._keeper = Keeper(database, settings, claim)
        self._fetcher = Fetcher(settings)
        self._cancelling = False
        self._shipped = self._looked = 0.0
        self._asked: str | None = None  # cancel, drain, time_limit or partition
        self._last: Finished | Failed | None = None

    def run(self) -> None:
        """Never raises for what happens to the training; returns early where another attempt took the run over.

        A fault of our own ends the attempt like a process that died, at once: nobody waits for the lease to run out.
        """
        with logs.about(run=self._claim.uid, attempt=self._claim.fence):
            verdict: Verdict | None = None
            sound = True
            try:
                try:
                    verdict = self._attempt()
                    self._leave_behind()
                except LeaseLost:
                    raise
                except Exception as error:  # noqa: BLE001 - whatever it is, the run's next attempt must not wait for it
                    _log.exception("run %s: a fault of its worker", self._claim.uid)
                    sound = False
                    if verdict is None:  # what is decided stays so: nothing depends on the log
                        verdict = self._after_fault(error)
                if self._finish(verdict) not in (RunState.QUEUED, None) and sound:
                    self._keeper.drop_working_copies()
            except LeaseLost as error:
                LEASES_LOST.inc()
                _log.warning("%s; its process is stopped and nothing more is written", error)
            finally:
                self._keeper.close()
                self._fetcher.close()

    def _after_fault(self, error: Exception) -> Verdict:
        if self._cancelling:
            return Verdict(RunState.CANCELLED, "stopped")
        return faulted(self._claim, self._settings.backoff, _line(error))

    def _attempt(self) -> Verdict:
        claim = self._claim
        resume_from = self._recover()
        if isinstance(self._last, Finished | Failed):
            return self._verdict(child.FINISHED if isinstance(self._last, Finished) else child.FAILED)
        if claim.seconds_left is not None and claim.seconds_left <= 0:
            return over_time(claim)
        try:
            inputs = self._meanwhile(lambda stop: self._fetch(resume_from, stop))
        except Interrupted:
            return self._verdict(child.STOPPED)
        except Exception as error:  # noqa: BLE001 - every store's driver has its own
            _log.exception("run %s: something that it needs could not be fetched", claim.uid)
            where = (
                ""
                if isinstance(error, Damaged | uploads.NotInStore)
                else f"The store {self._keeper.store.root} cannot be used: "
            )
            return Verdict(RunState.FAILED, "its parts could not be fetched", f"{where}{_line(error)}", "storage")
        try:
            write_job(self._files, self._settings, claim, inputs, self._train)
            tree = ProcessTree(self._files, self._settings, claim, self._gpu)
        except OSError as error:
            problem = f"The worker cannot write the run's folder {self._files.run}: {error.strerror}."
            return Verdict(RunState.FAILED, "the run's folder cannot be written", problem, "storage")
        _log.info("run %s, attempt %d: training from %s", claim.uid, claim.fence, inputs.checkpoint or "the beginning")
        with tree:
            code = self._watch(tree)
        if code < 0:
            code = 128 - code
        self._settle()
        return self._verdict(code)

    # -- before

    def _recover(self) -> str | None:
        """Ship what a lost attempt left unshipped; the checkpoint to go on from.

        The lost attempt may have written a checkpoint, or even finished, after its supervisor's last word.
        """
        left = self._left()
        if not left:
            return self._claim.checkpoint_path
        self._note(left)
        self._shipper.pending += self._keeper.take(left)
        self._settle()
        saved = [event for event in left if isinstance(event, CheckpointSaved)]
        return saved[-1].path if saved else self._claim.checkpoint_path

    def _left(self) -> list[Event]:
        claim = self._claim
        if claim.output is not None and claim.output in claim.kept:  # registered: only its end was never written
            return [Finished(step=claim.total_steps or 0, output=claim.output)]
        fence = claim.previous_fence
        if claim.output is not None:  # trained to its end, but the store did not take it
            number = Path(claim.output).parent.name.removeprefix("attempt-")
            fence = int(number) if number.isdigit() else fence
        if fence is None:
            return []
        path = AttemptFiles(self._settings, claim.uid, fence).spool
        return spool.recover(path, failure_ends=not claim.previous_settled)

    def _fetch(self, resume_from: str | None, stop: Callable[[], bool]) -> Inputs:
        """Local paths of the checkpoint and of the parents' outputs. A parent that is nowhere keeps its location, which
        the trainer will not find and explain. Of a trial one policy may be damaged: the others answer; and a reference may be out
        of reach: what was written stands without its KL."""
        claim = self._claim
        self._keeper.follow_log(self._files.log)
        checkpoint = None
        if resume_from is not None:
            checkpoint = self._fetcher.fetch(resume_from, claim.kept.get(resume_from), stop)
            if checkpoint is None:
                _log.warning("checkpoint %s is gone: run %s starts again", resume_from, claim.uid)
        data = uploads.bring(claim.config, self._database, self._settings, self._fetcher, stop)
        inputs = Inputs(checkpoint, data_folder=data)
        for uid, location in claim.parents.items():
            try:
                inputs.parents[uid] = str(self._fetcher.fetch(location, claim.kept.get(location), stop) or location)
            except Interrupted:
                raise
            except Exception as error:
                spared = isinstance(claim.config, TrialConfig) and (
                    isinstance(error, Damaged) or uid in only_measured_to(claim.config)
                )
                if not spared:
                    raise
                inputs.damaged[uid] = _line(error)
        return inputs

    def _meanwhile(self, work: Callable[[Callable[[], bool]], T], seconds: float = float("inf")) -> T:
        """Let `work(stop)` take its time while the lease is renewed and a cancel is heard. Raises what it raises."""
        return meanwhile(
            work,
            beat=self._beat,
            leaving=lambda: self._cancelling or self._draining.is_set(),
            every=_BUSY_SECONDS,
            seconds=seconds,
        )

    # -- during

    def _watch(self, tree: ProcessTree) -> int:
        """Ship, renew and listen until the process has ended; its exit code."""
        started = time.monotonic()
        while (code := tree.poll()) is None:
            self._collect()
            self._beat()
            if self._cancelling and self._asked != "cancel":
                tree.stop(quick=True)
                self._asked = "cancel"
            elif self._asked is None and (why := self._must_stop(time.monotonic() - started)):
                _log.info("run %s is asked to stop: %s", self._claim.uid, why)
                tree.stop(quick=False)
                self._asked = why
            time.sleep(_LOOK_SECONDS)
        return code

    def _beat(self) -> None:
        """Ship what is pending, renew the lease in time, and look whether the run is to be cancelled."""
        now = time.monotonic()
        if self._shipper.pending or now - self._shipped > self._settings.lease_seconds / 4:
            self._cancelling |= bool(self._ship())
            self._shipped = self._looked = now
        elif now - self._looked > _POLL_SECONDS:
            self._cancelling |= bool(self._shipper.cancelling())
            self._looked = now

    def _must_stop(self, trained: float) -> str | None:
        """Why the process is to write a checkpoint and end, after so many seconds of training."""
        if self._draining.is_set():
            return "drain"
        if self._claim.seconds_left is not None and trained >= self._claim.seconds_left:
            return "time_limit"
        return "partition" if self._shipper.away_seconds >= self._settings.partition_seconds else None

    def _collect(self) -> None:
        if len(self._shipper.pending) < 2000:  # the rest stays in the file
            fresh = self._reader.read()
            self._note(fresh)
            self._shipper.pending += self._keeper.take(fresh)
        self._shipper.pending += self._keeper.ready()

    def _note(self, fresh: list[Event]) -> None:
        for event in fresh:
            if isinstance(event, Finished | Failed):
                self._last = event

    def _ship(self) -> bool | None:
        retained = any(isinstance(record, Retain) for record in self._shipper.pending)
        cancelling = self._shipper.ship()
        if retained and cancelling is not None:
            self._keeper.tidy()
        return cancelling

    # -- after

    def _settle(self) -> None:
        """Ship to the last line, however long the database takes. A store that takes nothing is given the settings' patience: what
        is large takes its time."""
        began = time.monotonic()
        while True:
            self._collect()
            if not self._shipper.pending and not self._keeper.busy:
                return
            self._beat()
            hurry = self._cancelling or self._draining.is_set() or not self._keeper.holds_output
            since = began if hurry else max(began, self._keeper.moved)
            patience = self._settings.grace_seconds if hurry else self._settings.artifacts_patience_seconds
            if self._keeper.busy and time.monotonic() - since > patience:
                self._keeper.give_up()
            time.sleep(_BUSY_SECONDS)

    def _leave_behind(self) -> None:
        """Register the log and the spool, where the store takes them soon: nothing depends on them."""
        files: list[tuple[Kind, Path]] = [("log", self._files.log), ("spool", self._files.spool)]

        def keep(stop: Callable[[], bool]) -> list[Record]:
            kept = [self._keeper.leave(kind, path) for kind, path in files if path.is_file()]
            return [one for one in kept if one is not None]

        try:
            self._shipper.pending += self._meanwhile(keep, _LOG_SECONDS)
        except Interrupted:
            _log.warning("run %s: its log was not brought to the store", self._claim.uid)
        self._settle()

    def _verdict(self, code: int) -> Verdict:
        """What an exit code means for the run."""
        ending = Ending(
            self._claim, self._settings.backoff, code, self._last, self._files.log,
            cancelling=self._cancelling, draining=self._draining.is_set(), asked=self._asked,
            store=self._keeper.store.root, lost_output=self._keeper.lost_output, trouble=self._keeper.trouble,
        )  # fmt: skip
        return ending.verdict()

    def _finish(self, verdict: Verdict) -> RunState | None:
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
                return reached
            time.sleep(0.5)


def _line(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return first[:500].replace("\0", "\ufffd")  # PostgreSQL takes none
