"""What the training process writes to its run's log: lines for people, or JSON with run and attempt where COPG_LOG_FORMAT asks."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping

from backend import logs
from copg_core.narration import LogWriter
from worker import orphans


class RunLog(LogWriter):
    """A recorder of events, and of what goes wrong beside them. `configure` belongs to the start of the process."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__(sys.stdout)
        self._json = environment.get("COPG_LOG_FORMAT") == "json"
        uid, _, fence = environment.get(orphans.RUN, "").rpartition(":")
        self._fields: dict[str, str | int] = {"run": uid, "attempt": int(fence)} if uid else {}

    def configure(self) -> None:
        """Let libraries that warn by `logging` or `warnings` write lines of the same form."""
        chosen = "json" if self._json else "text"
        logs.configure(chosen, level=logging.WARNING, stream=sys.stdout, **self._fields)

    def write(self, line: str) -> None:
        if self._json:
            self._print("info", line)
        else:
            super().write(line)

    def error(self, sentence: str) -> None:
        """Why the run ends, for the log and for a supervisor that has no other word of it."""
        if self._json:
            self._print("error", sentence)
        else:
            sys.stderr.write(sentence + "\n")

    def unforeseen(self, error: Exception) -> None:
        """A bug, with its traceback."""
        told = "".join(traceback.format_exception(error))
        if self._json:
            self._print("error", f"{type(error).__name__}: {error}", error=told)
        else:
            sys.stderr.write(told)

    def _print(self, level: str, message: str, **more: str) -> None:
        sys.stdout.write(logs.json_line(level, "training", message, {**self._fields, **more}) + "\n")
        sys.stdout.flush()
