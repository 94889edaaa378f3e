"""A whole studio in its own folder, started as a user starts it, and a real browser to look at it with."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from backend.migrations import upgrade
from tests.conftest import empty_database, missing

ROOT = Path(__file__).resolve().parent.parent.parent
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Where a time is part of what is promised, a test says it itself. A busy machine may need a minute for a page.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)
FINISHED = {"succeeded", "failed", "cancelled"}
TINY = {  # a run of some seconds
    "algorithm": "sft", "policy": {"kind": "preset", "size": "nano"}, "batch_size": 8, "steps": 2,
    "data": {"kind": "task", "train_size": 32, "validation_size": 8},
}  # fmt: skip


@dataclass
class Studio:
    """A running `copg up`: its address, its folder, its process, and the API calls that tests need."""

    url: str
    data_dir: Path
    process: subprocess.Popen[bytes]

    def get(self, path: str, **query: Any) -> Any:
        answer = httpx.get(f"{self.url}/api/v1{path}", params=query, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, status: int = 201) -> Any:
        answer = httpx.post(f"{self.url}/api/v1{path}", json=body, timeout=30)
        assert answer.status_code == status, answer.text
        return answer.json()

    def wait_for(self, run: str, states: set[str], seconds: float) -> dict[str, Any]:
        """Wait until a run is in one of the states; fails with the run's error and the end of its log."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            seen = self.get(f"/runs/{run}")
            if seen["state"] in states:
                return dict(seen)
            if seen["state"] in FINISHED:
                break
            time.sleep(0.2)
        log = self.data_dir / "runs" / run / "log.txt"
        tail = log.read_text()[-3000:] if log.exists() else "(no log)"
        pytest.fail(f"run {run} is {seen['state']} (step {seen['step']}), not {states}: {seen['error']}\n{tail}")


def make_lasting(page: Page, *milliseconds: int) -> None:
    """Timers of these lengths are of ten minutes: what vanishes by itself stays until the test has seen it."""
    page.add_init_script(f"""{{
        const later = window.setTimeout, lasting = {list(milliseconds)};
        window.setTimeout = (act, ms, ...rest) => later(act, lasting.includes(ms) ? 600_000 : ms, ...rest);
    }}""")


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_studio(data_dir: Path, environment: dict[str, str] | None = None, *, program: Path | None = None) -> Studio:
    """`copg up` on a free port; returns when the API answers. `program`: a Python file that stands in for `copg`."""
    port = free_port()
    copg = [sys.executable, program] if program else [Path(sys.executable).with_name("copg")]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COPG_")}
    log = (data_dir.parent / f"{data_dir.name}.log").open("wb")
    process = subprocess.Popen(
        [*copg, "up", "--port", str(port), "--data-dir", str(data_dir)],
        env={**clean, "OMP_NUM_THREADS": "1", **(environment or {})},
        cwd=data_dir.parent,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    log.close()
    studio = Studio(f"http://127.0.0.1:{port}", data_dir, process)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{studio.url}/api/v1/health", timeout=2).status_code == 200:
                return studio
        except httpx.TransportError:
            time.sleep(0.05)
    stop_studio(studio)
    pytest.fail(f"copg up did not answer:\n{Path(log.name).read_text()[-3000:]}")


def stop_studio(studio: Studio) -> None:
    """Ctrl-C, as a user would; kills what does not listen."""
    if studio.process.poll() is None:
        studio.process.send_signal(signal.SIGINT)
    try:
        studio.process.wait(30)
    except subprocess.TimeoutExpired:
        studio.process.kill()
        studio.process.wait()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A module's STACKS says what its studio runs on: the main job on both, a page's own job on one. What the page asks for is
    tested on both databases in tests/backend."""
    if "studio" in metafunc.fixturenames:
        metafunc.parametrize("studio", metafunc.module.STACKS, indirect=True, scope="module")


@pytest.fixture(scope="module")
def studio(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """ "embedded": the defaults (SQLite and the broker that `copg up` brings); "services": PostgreSQL and Redis."""
    environment = {}
    if request.param == "services":
        database = request.getfixturevalue("postgres_server")
        upgrade(database)
        empty_database(database)  # tests before this one left their rows
        environment = {
            "COPG_DATABASE_URL": database,
            "COPG_BROKER_URL": request.getfixturevalue("redis_url"),
            "COPG_QUEUE": f"e2e-{uuid.uuid4().hex[:8]}",  # hints of others in the same Redis stay theirs
        }
    running = start_studio(tmp_path_factory.mktemp("studio") / "data", environment)
    yield running
    stop_studio(running)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The system's Chromium. It leaves with these tests: Playwright keeps an event loop running, in which no other test could run its own."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        missing("browser", "install Chromium to run the tests that drive one")
    if not (ROOT / "backend" / "page" / "index.html").exists():
        missing("page", "build it with `make page`")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh window of 1440 x 900 in which an error of the page fails the test."""
    # Playwright's wait_for_function evaluates text in the page, which the page's policy forbids. That policy has a test of
    # its own, test_login_page.py.
    context = browser.new_context(viewport={"width": 1440, "height": 900}, bypass_csp=True)
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.set_default_timeout(PATIENCE_MS)
    yield opened
    context.close()
    assert not errors
