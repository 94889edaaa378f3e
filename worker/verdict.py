"""How an attempt ended, and what becomes of its run."""

from __future__ import annotations

import signal
import socket
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from backend import logs
from backend.backoff import Backoff
from backend.claims import Claim
from backend.states import RunState
from copg_core.events import Failed, Finished
from copg_core.trial_config import TrialConfig
from worker import child, guard


@dataclass(frozen=True)
class Verdict:
    """What becomes of the run after an attempt."""

    target: RunState
    reason: str
    error: str | None = None
    error_kind: str | None = None
    count_attempt: bool = True
    delay_seconds: float = 0.0


@dataclass(frozen=True)
class Ending:
    """What is known of an attempt once its process has ended with exit code `code`.

    `last`: its last word, where it had one. `asked`: why the worker asked it to stop (drain, time_limit, partition). `lost_output`: a
    trained model that `store` did not take, because of `trouble`.
    """

    claim: Claim
    backoff: Backoff
    code: int
    last: Finished | Failed | None
    log: Path
    cancelling: bool
    draining: bool
    asked: str | None
    store: str
    lost_output: str | None
    trouble: str | None

    def verdict(self) -> Verdict:
        """What the exit code means for the run."""
        code, last = self.code, self.last
        if code == child.FINISHED and isinstance(last, Finished):
            if self.lost_output is not None and not _is_trial(self.claim):  # what a trial wrote is in the database
                return self._not_kept(self.lost_output)
            return Verdict(RunState.SUCCEEDED, "finished")
        if self.cancelling:
            return Verdict(RunState.CANCELLED, "stopped")
        # Where one process of several was killed, the others fail because they miss it: that is no fault of the run.
        if isinstance(last, Failed) and not (code >= 128 and last.kind == "internal"):
            return Verdict(RunState.FAILED, "training failed", last.message, last.kind)
        if code == child.DISK:
            problem = "The worker's disk is full or may not be written, so the run could not record anything."
            return Verdict(RunState.FAILED, "the spool cannot be written", self._tail() or problem, "storage")
        asked = self.asked or ("drain" if self.draining else None)
        if asked and (code in (child.STOPPED, guard.OVERRAN) or code >= 128):
            if asked == "time_limit":
                return over_time(self.claim)
            away = {"drain": "was asked to leave", "partition": "could not reach the database"}[asked]
            return Verdict(RunState.QUEUED, f"its worker {away}", count_attempt=False)
        if code == child.STOPPED or code >= 128 or code in (guard.OVERRAN, guard.ABANDONED, guard.FROZEN):
            return self._died()
        problem = self._tail() or f"Training ended with exit code {code} and without a word."
        return Verdict(RunState.FAILED, f"exit code {code}", problem, "internal")

    def _not_kept(self, output: str) -> Verdict:
        if self.draining:
            return Verdict(RunState.QUEUED, "its worker was asked to leave", count_attempt=False)
        problem = (
            f"Training is complete, but the store {self.store} did not take the trained model: "
            f"{self.trouble or 'it was too slow'}. The model is kept on {socket.gethostname()} in {output}: "
            "once the store works, resume brings it there."
        )
        return Verdict(RunState.FAILED, "its output was not kept", problem, "storage")

    def _died(self) -> Verdict:
        code, number, most = self.code, self.claim.attempt, self.claim.max_attempts
        name = (
            _signal_name(code - 128) if code >= 128 else {guard.FROZEN: "a freeze of its worker"}.get(code, "a signal")
        )
        reason = f"the training process was ended by {name}"
        if number < most:
            next_one = f"{reason}; {self.backoff.sentence(number, most)}"
            return Verdict(RunState.QUEUED, next_one, delay_seconds=self.backoff.delay(number))
        hint = " Most often that means that memory ran out." if code == 128 + signal.SIGKILL else ""
        problem = f"The training process was ended by {name}, in the last of {number} attempts.{hint} See the log."
        if _is_trial(self.claim):
            problem = f"The process that let the policies write was ended by {name}, in {number} attempts.{hint}"
        return Verdict(RunState.FAILED, reason, problem, "worker")

    def _tail(self) -> str:
        """The last line of the log: where nothing else was said, it says most."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, log.seek(0, 2) - 2000))
                lines = log.read().decode(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return logs.sentence(lines[-1])[:500].replace("\0", "\ufffd") if lines else ""


def faulted(claim: Claim, backoff: Backoff, fault: str) -> Verdict:
    """Of a run whose worker, not whose training, met something that nobody has foreseen: it may work with the next one."""
    reason = f"its worker failed: {fault}"
    if claim.attempt < claim.max_attempts:
        next_one = f"{reason}; {backoff.sentence(claim.attempt, claim.max_attempts)}"
        return Verdict(RunState.QUEUED, next_one, delay_seconds=backoff.delay(claim.attempt))
    problem = (
        f"The worker, not the training, failed in the last of {claim.attempt} attempts: {fault}. Its log has more; "
        "resume goes on from the last checkpoint."
    )
    return Verdict(RunState.FAILED, reason, problem, "worker")


def over_time(claim: Claim) -> Verdict:
    """Of a run that has had its maximum time."""
    limit = timedelta(seconds=round(claim.max_seconds or 0))
    problem = f"It trained for its longest time of {limit}. Resume it to give it as much again, from its checkpoint."
    if _is_trial(claim):
        problem = f"It was given up after {limit}: ask fewer runs, or for fewer and shorter completions."
    return Verdict(RunState.FAILED, "its time is over", problem, "time_limit")


def _is_trial(claim: Claim) -> bool:
    return isinstance(claim.config, TrialConfig)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
