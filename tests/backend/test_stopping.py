"""`copg up` ends quietly, in whatever moment it is stopped."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette

from backend.embedded import _Server
from backend.processes import Guarded


def test_a_process_that_was_killed_may_still_be_asked_to_stop(tmp_path: Path) -> None:
    guarded = Guarded([sys.executable, "-c", "input()"], tmp_path / "log", dict(os.environ), 1.0)
    guarded.kill()
    guarded.ask_to_stop()
    guarded.kill()
    assert guarded.poll() is not None


def test_a_second_ctrl_c_prints_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        server.handle_exit(signal.SIGINT, None)
        server.handle_exit(signal.SIGINT, None)
        yield

    server = _Server(uvicorn.Config(Starlette(lifespan=lifespan), port=0, log_level="warning", lifespan="on"))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # which uvicorn raises again at its end
    try:
        server.run()
    finally:
        signal.signal(signal.SIGINT, before)
        logging.getLogger("uvicorn.error").disabled = False
    said = capsys.readouterr()
    assert "Traceback" not in said.err + said.out
