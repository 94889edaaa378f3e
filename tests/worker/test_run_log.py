"""Worker, guard and training process write lines of one form; people read them as text wherever they look."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fastapi.testclient import TestClient

from backend import logs
from backend.main import create_app
from backend.models import Run
from tests.worker.conftest import Bench
from worker import guard, orphans
from worker.verdict import Ending


def log_of(bench: Bench, run: Run) -> list[str]:
    return (bench.settings.runs_path / run.uid / "log.txt").read_text().splitlines()


def ours(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines if line.startswith('{"time"')]


def test_a_runs_log_is_text_for_people(bench: Bench) -> None:
    lines = log_of(bench, bench.execute(bench.new(steps=6)))
    assert not ours(lines)
    assert any(line.endswith("Z training from step 0 of 6") for line in lines)


def test_a_runs_log_is_json_where_that_is_asked_for_and_the_api_shows_text(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COPG_LOG_FORMAT", "json")
    run = bench.execute(bench.new(steps=6, bug=5))
    lines = log_of(bench, run)
    said = ours(lines)
    assert len(said) == len(lines), lines
    assert {(line["run"], line["attempt"]) for line in said} == {(run.uid, 1)}
    assert "training from step 0 of 6" in [line["message"] for line in said]
    assert said[-1]["message"] == "ZeroDivisionError: oh"
    assert "Traceback" in said[-1]["error"]
    assert run.error == "Unexpected ZeroDivisionError: oh. The log has the details."
    with TestClient(create_app(bench.settings), "http://127.0.0.1", client=("127.0.0.1", 1)) as client:
        shown, offset = "", 0
        while (
            offset
            < (answer := client.get(f"/api/v1/runs/{run.uid}/log", params={"offset": offset, "limit": 700}).json())[
                "size"
            ]
        ):
            shown, offset = shown + answer["text"], answer["next_offset"]
    assert '{"time"' not in shown
    assert "Z training from step 0 of 6\n" in shown
    assert "Traceback" in shown


def test_a_run_that_explains_itself_says_so_in_one_line(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COPG_LOG_FORMAT", "json")
    run = bench.execute(bench.new(steps=6, reward_error=5))
    last = ours(log_of(bench, run))[-1]
    assert (last["level"], last["message"]) == ("error", "reward error: the reward is NaN")


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.said: list[tuple[str | None, str | None, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append((logs.field("run"), logs.field("attempt"), record.getMessage()))


def test_what_a_supervisor_says_names_run_and_attempt(bench: Bench) -> None:
    handler, logger = _Lines(), logging.getLogger("worker.supervisor")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        run = bench.execute(bench.new(steps=3))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert handler.said
    assert {(uid, attempt) for uid, attempt, _ in handler.said} == {(run.uid, "1")}


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_guard_says_why_it_ended_the_training(form: str, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    environment = {**os.environ, "COPG_LOG_FORMAT": form, orphans.RUN: "abc:3"}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, "0", "5", "5", "--", sys.executable, "-c", "import time; time.sleep(60)"],
            stdin=subprocess.PIPE, stderr=file, env=environment,
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == guard.ABANDONED
    [line] = log.read_text().splitlines()
    assert logs.readable(line).endswith("Z the worker is gone: the training is ended")
    if form == "json":
        said = json.loads(line)
        assert said.items() >= {"level": "warning", "logger": "guard", "run": "abc", "attempt": 3}.items()


def test_a_worker_is_json_by_itself_with_its_name(tmp_path: Path) -> None:
    """Standard error of a worker is no terminal here."""
    environment = {**os.environ, "COPG_DATA_DIR": str(tmp_path), "COPG_WORKER_NAME": "w1", "COPG_LOG_FORMAT": ""}
    code = ("from worker.app import _log_to_stderr; import logging; _log_to_stderr(); "
            "logging.getLogger('celery').info('ready')")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    line = json.loads(done.stderr)
    assert (line["worker"], line["logger"], line["message"]) == ("w1", "celery", "ready")


def test_what_no_database_takes_is_no_part_of_what_is_told_of_an_end(tmp_path: Path) -> None:
    """PostgreSQL refuses NUL, and a worker would try for ever to write the end of its run."""
    log = tmp_path / "log.txt"
    log.write_bytes(b"first\nboom \0 end\n")
    assert Ending._tail(cast(Ending, SimpleNamespace(log=log))) == "boom \ufffd end"
