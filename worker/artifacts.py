"""Brings what an attempt writes to the store, beside the training and never in its way.

One thread takes checkpoints and the output in the order in which they were written, keeps each (in the data folder that
means: describes it; elsewhere: uploads it), and hands back records that are registered together: the artifact, the event
with its location, and what retention may now drop. A store that fails is tried again; training never notices.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from backend.artifacts import Kept, Kind, Retain, remove_quietly
from backend.claims import Claim
from backend.database import Database
from backend.recorded import Record
from backend.settings import Settings
from backend.store import Interrupted, Store, read
from copg_core import retention
from copg_core.events import CheckpointRemoved, CheckpointSaved, Evaluation, Event, Finished

_log = logging.getLogger(__name__)
_LOG_SECONDS = 20.0
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0  # seconds between attempts at a store that fails
_MOST_REFUSALS = 8  # some three minutes
_MOST_WAITING = 8  # checkpoints beside the newest `keep` that a plan may have waiting for the store


class Keeper:
    """`take` events, give `ready` records. `close()` leaves no transfer behind that matters."""

    def __init__(self, database: Database, settings: Settings, claim: Claim) -> None:
        self._database, self._settings, self._claim = database, settings, claim
        self.store = Store(settings)
        self._home = settings.runs_path / claim.uid
        self._waiting: list[Event] = []
        self._refused, self._refused_step = 0, -1
        self._rewards: dict[int, float | None] = {}  # of this attempt's evaluations, by step
        self._ready: list[Record] = []
        self._turn = threading.Condition()
        self._leaving = threading.Lock()  # the log is left by the thread and at the end: never the older one last
        self._closed = threading.Event()
        self._given_up = False
        self._tidy = False
        self._log: Path | None = None
        self._log_bytes = 0
        self._thread: threading.Thread | None = None
        self._part = self._furthest = 0  # parts of the event at hand: of this try, and most of any
        self.moved = time.monotonic()
        """When the store last took a part of something. One that refuses takes parts of what it refuses, which do not count."""
        self.trouble = ""
        """Why the store did not take the last thing that was tried; empty where it did."""
        self.lost_output: str | None = None
        """Local folder of an output that could not be brought to the store."""

    # -- the supervisor's side

    def take(self, fresh: Sequence[Event]) -> list[Event]:
        """Hold back what has to be kept first, and give the rest back at once."""
        held = [event for event in fresh if self._is_mine(event)]
        measured = {event.step: event.reward_mean for event in fresh if isinstance(event, Evaluation)}
        with self._turn:
            self._rewards |= measured
        if held:
            with self._turn:
                self._waiting += held
                self._thin()
                self._turn.notify()
            self._start()
        return [event for event in fresh if not self._holds(event)]

    def ready(self) -> list[Record]:
        """What can be registered now, in the order in which it was written."""
        with self._turn:
            done, self._ready = self._ready, []
        return done

    @property
    def busy(self) -> bool:
        """Whether something is still to come."""
        with self._turn:
            return bool(self._waiting or self._ready)

    @property
    def holds_output(self) -> bool:
        with self._turn:
            return any(isinstance(event, Finished) for event in self._waiting)

    def tidy(self) -> None:
        """Retention was registered: remove the files of what it dropped."""
        with self._turn:
            self._tidy = True
            self._turn.notify()
        self._start()

    def give_up(self) -> None:
        """Wait for the store no longer. The output stays where it is, and its event says so."""
        with self._turn:
            if not self._waiting:  # the last of it was taken this moment
                return
            self._given_up = True
            for event in self._waiting:
                if isinstance(event, Finished):
                    self.lost_output = event.output
                    self._ready.append(event)
            left, self._waiting = len(self._waiting), []
        _log.warning("run %s: %d things were not brought to the store: %s", self._claim.uid, left, self.trouble)

    def follow_log(self, path: Path) -> None:
        """Go on with the log of earlier attempts on other machines, and let the store have it while it grows."""
        if self.store.is_local:
            return
        key = str(self.store.key(path))
        if not path.exists():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"".join(read(self.store.location(key))))
            except FileNotFoundError:
                path.unlink(missing_ok=True)
            except Exception as error:  # noqa: BLE001 - nothing depends on it
                _log.warning("the log of run %s was not fetched: %s", self._claim.uid, error)
        self._log = path
        self._start()

    def _send_log(self) -> None:
        if self._log is None or not self._log.is_file():
            return
        size = self._log.stat().st_size
        if size != self._log_bytes and self.leave("log", self._log) is not None:
            self._log_bytes = size

    def close(self) -> None:
        self._closed.set()
        with self._turn:
            self._turn.notify()
        if self._thread is not None and not self._given_up:
            self._thread.join(timeout=10)

    def leave(self, kind: Kind, path: Path) -> Kept | None:
        """Keep one small file now, in the caller's thread; None where that does not work: nothing depends on it."""
        key = self.store.key(path)
        try:
            with self._leaving:
                location, files = self.store.put(path, key or path.name, self._closed.is_set)
        except Interrupted:  # by the end of the attempt, which has left it already
            return None
        except Exception as error:  # noqa: BLE001 - every driver has its own
            _log.warning("%s was not kept: %s", path, error)
            return None
        return Kept(kind, path.name, location, files)

    def drop_working_copies(self) -> None:
        """Of a run that has ended: what stands in a store elsewhere need not stand here."""
        if not self.store.is_local and not self._given_up:
            for attempt in self._home.glob("attempt-*"):
                for name in ("checkpoints", "output"):
                    shutil.rmtree(attempt / name, ignore_errors=True)

    # -- the thread's side

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="keeper", daemon=True)
            self._thread.start()

    @staticmethod
    def _holds(event: Event) -> bool:
        return isinstance(event, CheckpointSaved | CheckpointRemoved | Finished)

    def _is_mine(self, event: Event) -> bool:
        """Whether an event speaks of a folder of this run; what a trainer says about other folders is not believed."""
        if not self._holds(event):
            return False
        place = event.output if isinstance(event, Finished) else event.path  # type: ignore[union-attr]
        in_store = place == self._claim.output and place in self._claim.kept
        if in_store or (Path(place).is_relative_to(self._home) and ".." not in Path(place).parts):
            return True
        _log.warning("run %s speaks of %s, which is not in its own folder", self._claim.uid, place)
        return False

    def _thin(self) -> None:
        """Checkpoints that come faster than the store takes them would fill the disk: those go that the plan does not keep, and of
        the others the oldest where they are many."""
        if self.store.is_local:
            return
        saved = [event for event in self._waiting[1:] if isinstance(event, CheckpointSaved)]
        spared = self._spared(saved)
        wanted = [event for event in saved if event.step in spared][
            -(_MOST_WAITING + self._claim.config.checkpoints.keep) :
        ]
        for event in saved:
            if event not in wanted:
                self._drop(event)

    def _spared(self, saved: Sequence[CheckpointSaved]) -> set[int | None]:
        """The steps that would be kept of these alone."""
        rewards = {event.step: self._rewards.get(event.step) for event in saved}
        return {*retention.kept(rewards, self._claim.config.checkpoints), *(event.good_step for event in saved[-1:])}

    def _drop(self, event: CheckpointSaved) -> None:
        self._waiting.remove(event)
        self._furthest = 0
        shutil.rmtree(event.path, ignore_errors=True)

    def _work(self) -> None:
        wait = _FIRST_WAIT
        while not self._closed.is_set():
            with self._turn:
                while not (self._waiting or self._tidy or self._closed.is_set()):
                    if not self._turn.wait(None if self._log is None else _LOG_SECONDS):
                        break
                event = self._waiting[0] if self._waiting else None
                tidy, self._tidy = self._tidy, False
            if tidy:
                remove_quietly(self._database, self._settings, self._claim.uid)
            if event is None:
                self._send_log()
                continue
            self._part = 0
            try:
                records = self._keep(event)
            except FileNotFoundError as error:  # pruned meanwhile, or it never was there
                records = [event] if isinstance(event, Finished) else []
                _log.warning("run %s: passed over %s: %s", self._claim.uid, type(event).__name__, error)
            except Interrupted:
                return
            except Exception as error:  # noqa: BLE001 - every driver has its own
                self.trouble = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
                _log.warning("the store %s does not take it, trying again in %g s: %s", self.store.root, wait, error)
                self._closed.wait(wait)
                wait = min(2 * wait, _LONGEST_WAIT)
                with self._turn:
                    self._supersede(event)
                continue
            wait, self.trouble, self._furthest = _FIRST_WAIT, "", 0
            with self._turn:
                if not self._given_up:
                    self._waiting.remove(event)
                    self._ready += records

    def _supersede(self, event: Event) -> None:
        """A checkpoint that the store refused while newer ones came is not worth another attempt; one that the plan keeps is worth
        a few, and then it must not hold up the others."""
        saved = [other for other in self._waiting if isinstance(other, CheckpointSaved)]
        if not isinstance(event, CheckpointSaved) or event not in saved:
            return
        self._refused = self._refused + 1 if event.step == self._refused_step else 1
        self._refused_step = event.step
        newer = len(saved) > self._claim.config.checkpoints.keep
        if event.step not in self._spared(saved) or (newer and self._refused >= _MOST_REFUSALS):
            self._drop(event)

    def _keep(self, event: Event) -> list[Record]:
        match event:
            case CheckpointSaved():
                location, kept = self._put("checkpoint", event.path, event.step)
                plan = self._claim.config.checkpoints
                saved = event.model_copy(update={"path": location})
                return [*kept, saved, Retain(plan, event.good_step)]
            case CheckpointRemoved():
                key = self.store.key(event.path)
                return [event.model_copy(update={"path": self.store.location(key)}) if key else event]
            case Finished():
                location, kept = self._put("output", event.output, event.step)
                return [*kept, event.model_copy(update={"output": location})]
        return [event]

    def _put(self, kind: Kind, place: str, step: int) -> tuple[str, list[Record]]:
        if "://" in place:  # it stands in the store already
            return place, []
        path = Path(place)
        key = self.store.key(path)
        assert key is not None  # _is_mine has seen to it
        location, files = self.store.put(path, key, self._must_stop)
        return location, [Kept(kind, path.name, location, files, step)]

    def _must_stop(self) -> bool:
        """Asked before each part of a transfer: whether to stop it."""
        self._part += 1
        if self._part > self._furthest:  # a try after a failed one gets on where it passes that
            self._furthest, self.moved = self._part, time.monotonic()
        return self._closed.is_set() or self._given_up
