"""One line of JSON for each thing that is said, with what it is about: in the API, and as a person reads it."""

from __future__ import annotations

import io
import json
import logging
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from backend import logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where the process logs to during a test; everything is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_time_level_logger_message_and_what_it_is_about(stream: io.StringIO) -> None:
    logs.configure("json", stream=stream, worker="w1")
    log = logging.getLogger("some.room")
    with logs.about(run="abc", attempt=2):
        log.warning("three\nlines %s", "and an ü")
        with logs.about(request="r1"):
            log.info("inside", extra={"fields": {"seconds": 0.5}})
    log.info("outside")
    log.debug("not said")
    first, second, third = lines(stream)
    assert set(first) == {"time", "level", "logger", "message", "worker", "run", "attempt"}
    assert (first["level"], first["logger"]) == ("warning", "some.room")
    assert first["message"] == "three\nlines and an ü"
    assert first["time"].endswith("Z")
    assert (first["worker"], first["run"], first["attempt"]) == ("w1", "abc", 2)
    assert (second["run"], second["request"], second["seconds"]) == ("abc", "r1", 0.5)
    assert third.keys() == {"time", "level", "logger", "message", "worker"}


def test_an_exception_stays_on_its_line_and_warnings_are_lines_too(stream: io.StringIO) -> None:
    logs.configure("json", stream=stream)
    try:
        raise ValueError("oh")
    except ValueError:
        logging.getLogger("x").exception("it broke")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("careful", UserWarning, stacklevel=1)
    broke, careful = lines(stream)
    assert (broke["message"], broke["level"]) == ("it broke", "error")
    assert broke["error"].startswith("Traceback")
    assert broke["error"].endswith("ValueError: oh")
    assert "careful" in careful["message"]


def test_a_field_never_replaces_what_every_line_has(stream: io.StringIO) -> None:
    logs.configure("json", stream=stream)
    logging.getLogger("x").info("real", extra={"fields": {"message": "forged", "time": "never"}})
    [line] = lines(stream)
    assert line["message"] == "real"
    assert line["time"] != "never"


def test_threads_do_not_see_each_others_subjects(stream: io.StringIO) -> None:
    logs.configure("json", stream=stream)
    inside = threading.Barrier(2)

    def work(run: str) -> None:
        with logs.about(run=run):
            inside.wait(10)
            logging.getLogger("x").info("of %s", run)

    threads = [threading.Thread(target=work, args=(run,)) for run in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {(line["run"], line["message"]) for line in lines(stream)} == {("a", "of a"), ("b", "of b")}


def test_text_is_for_people(stream: io.StringIO) -> None:
    logs.configure("text", stream=stream, worker="w1")
    with logs.about(run="abc", attempt=2):
        logging.getLogger("x").warning("careful")
    assert stream.getvalue().rstrip().endswith("Z WARNING x: careful [run=abc attempt=2]")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("setting", "at", "chosen"),
    [
        ("", _Terminal(), "text"), ("", io.StringIO(), "json"), ("json", _Terminal(), "json"),
        ("text", io.StringIO(), "text"),
    ],
)  # fmt: skip
def test_a_terminal_gets_text_unless_told_otherwise(setting: str, at: io.StringIO, chosen: str) -> None:
    assert logs.chosen_format(setting, at) == chosen


@pytest.mark.parametrize(
    "line", ["plain", "{", '{"time": "', '{"time": "2026"}', '{"time": "2026", "message": 5}', "[1]"]
)
def test_what_is_no_line_of_ours_stays_as_it_is(line: str) -> None:
    assert logs.readable(line) == logs.sentence(line) == line


def test_a_line_with_a_traceback_is_read_with_it() -> None:
    line = logs.json_line("error", "training", "it broke", {"error": "Traceback\nValueError: oh\n", "run": "a"}, at=0.0)
    assert logs.readable(line) == "00:00:00Z it broke\nTraceback\nValueError: oh"
    assert logs.sentence(line) == "it broke"
