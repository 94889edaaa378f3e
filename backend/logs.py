"""What a process says about itself: one line of JSON each, for a machine that collects them, or text for people.

    {"time": "2026-11-25T03:31:02.123Z", "level": "warning", "logger": "worker.supervisor", "message": "...",
     "worker": "...", "run": "...", "attempt": 2}

`about(run=..., attempt=...)` adds fields to everything that this thread or request logs inside of it. The same lines come from
API, worker and training process. Standard library only: the training process imports this before anything else.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, TextIO

Format = Literal["json", "text"]
_about: ContextVar[Mapping[str, str | int]] = ContextVar("log_fields", default={})  # noqa: B039 - never changed in place
_FOREIGN = ("uvicorn", "uvicorn.error", "uvicorn.access")  # they bring handlers of their own


@contextmanager
def about(**fields: str | int) -> Iterator[None]:
    """Say of every line inside what it is about."""
    token = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


def enter(**fields: str | int) -> None:
    """Say it of every line from here to the end of this task or thread, errors that leave it included."""
    _about.set({**_about.get(), **fields})


def field(name: str) -> str | None:
    """What the lines written here and now say under that name."""
    value = _about.get().get(name)
    return None if value is None else str(value)


def chosen_format(setting: str, stream: TextIO) -> Format:
    """What COPG_LOG_FORMAT says; where it says nothing, text at a terminal and JSON elsewhere."""
    if setting in ("json", "text"):
        return "json" if setting == "json" else "text"
    return "text" if stream.isatty() else "json"


def configure(setting: str, *, level: int = logging.INFO, stream: TextIO | None = None, **fields: str | int) -> None:
    """Let this process log to `stream` (standard error) alone, with `fields` in every line. For a process's first moment."""
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLine(fields) if chosen_format(setting, stream) == "json" else TextLine(fields))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in _FOREIGN:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


def json_line(level: str, logger: str, message: str, fields: Mapping[str, object], at: float | None = None) -> str:
    """One object. What `fields` calls time, level, logger or message does not replace ours."""
    at = time.time() if at is None else at
    moment = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at))}.{int(at % 1 * 1000):03d}Z"
    line = {"time": moment, "level": level, "logger": logger, "message": message}
    return json.dumps({**fields, **line} if fields.keys() & line.keys() else {**line, **fields}, default=str)


def sentence(line: str) -> str:
    """What a line says, without when and about what.

    >>> sentence('{"time": "2026-11-25T03:31:02.123Z", "level": "info", "logger": "train", "message": "step 5"}')
    'step 5'
    """
    said = _parsed(line)
    return line if said is None else said["message"]


def readable(line: str) -> str:
    """A line of JSON as people read it; any other line as it is.

    >>> readable('{"time": "2026-11-25T03:31:02.123Z", "level": "info", "logger": "train", "message": "step 5"}')
    '03:31:02Z step 5'
    """
    said = _parsed(line)
    if said is None:
        return line
    return "\n".join(filter(None, (f"{said['time'][11:19]}Z {said['message']}", said.get("error", "").rstrip())))


def _parsed(line: str) -> dict[str, str] | None:
    if not line.startswith('{"time": "'):
        return None
    try:
        said = json.loads(line)
    except ValueError:
        return None
    return said if isinstance(said, dict) and isinstance(said.get("message"), str) else None


class JsonLine(logging.Formatter):
    """`fields` stand in every line of this process."""

    def __init__(self, fields: Mapping[str, str | int]) -> None:
        super().__init__()
        self._fields = dict(fields)

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {**self._fields, **_about.get(), **getattr(record, "fields", {})}
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return json_line(record.levelname.lower(), record.name, record.getMessage(), fields, record.created)


class TextLine(logging.Formatter):
    """Time, level and message, and behind it what it is about."""

    converter = staticmethod(time.gmtime)

    def __init__(self, fields: Mapping[str, str | int]) -> None:
        super().__init__("%(asctime)sZ %(levelname)s %(name)s: %(message)s%(about)s", "%H:%M:%S")
        self._fields = dict(fields)

    def format(self, record: logging.LogRecord) -> str:
        about_it = " ".join(f"{name}={value}" for name, value in _about.get().items())
        record.about = f" [{about_it}]" if about_it else ""
        return super().format(record)
