"""A thread that takes turns until it is stopped: what reconciles, analyses, deposits, clears and sends beside a process's own work."""

from __future__ import annotations

import logging
import threading

from sqlalchemy.exc import SQLAlchemyError

_log = logging.getLogger(__name__)


class Loop:
    """Whoever derives from it says in `step` what a turn does. What a turn raises is logged and the next one comes: nobody would
    notice a thread that has died.

    `seconds`: between turns that nobody asked for. `patience`: seconds that `stop` gives the turn at hand.
    """

    def __init__(self, name: str, *, seconds: float, patience: float = 2.0) -> None:
        self._seconds, self._patience = seconds, patience
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Take the next turn now: somebody committed something. Never waits."""
        self._wake.set()

    def stop(self) -> None:
        """Ends with the turn at hand, or leaves it behind after `patience`. Nothing happens to a loop that was never started."""
        self._stop.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=self._patience)

    def step(self) -> object:
        """One turn. What takes long looks at `_stop` now and then."""
        raise NotImplementedError

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.step()
            except SQLAlchemyError as error:
                _log.warning("%s: the database does not answer: %s", self._thread.name, str(error).splitlines()[0])
            except Exception:  # noqa: BLE001 - what is odd about one thing must not end the care for the others
                _log.exception("%s", self._thread.name)
            self._wake.wait(self._seconds)
            self._wake.clear()
