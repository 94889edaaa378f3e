"""The `copg` command against a studio that answers from a table: no tracebacks for what a person gets wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from backend.cli import main

RUN: dict[str, Any] = {
    "id": "a1", "name": "copg β=0.06", "algorithm": "copg", "state": "running", "stage": "training", "step": 3,
    "total_steps": 20, "last_reward": 0.25, "error": None,
}  # fmt: skip


class _Studio(BaseHTTPRequestHandler):
    answers: dict[str, list[tuple[int, Any]]]
    bodies: list[Any]

    def _answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        if size:
            self.bodies.append(json.loads(self.rfile.read(size)))
        queue = self.answers[f"{self.command} {self.path.partition('?')[0]}"]
        status, body = queue.pop(0) if len(queue) > 1 else queue[0]
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = _answer  # noqa: N815 - the names that http.server asks for

    def log_message(self, *_: Any) -> None:
        pass


class Table:
    def __init__(self, address: str, handler: type[_Studio]) -> None:
        self.address, self.handler = address, handler

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, [*arguments, "--server", self.address])


@pytest.fixture
def studio() -> Iterator[Table]:
    handler = type("Handler", (_Studio,), {"answers": {}, "bodies": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield Table(f"http://127.0.0.1:{server.server_port}", handler)
        server.shutdown()


def test_help_needs_nothing_heavy() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from backend.cli import main; "
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0; "
        "print([name for name in ('httpx', 'sqlalchemy', 'fastapi', 'celery', 'pydantic', 'numpy', 'torch') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert printed.stdout.strip() == "[]"


def test_list_show_and_cancel(studio: Table) -> None:
    studio.handler.answers |= {
        "GET /api/v1/runs": [(200, {"items": [RUN], "next_cursor": None, "total": 1})],
        "GET /api/v1/runs/a1": [(200, RUN)],
        "POST /api/v1/runs/a1/cancel": [(200, RUN | {"state": "cancelling"})],
    }
    listed = studio.run("runs", "list").output
    assert listed.splitlines()[1].split() == ["a1", "running", "3/20", "0.250", "copg", "copg", "β=0.06"]
    assert json.loads(studio.run("runs", "list", "--json").output)["items"] == [RUN]
    assert json.loads(studio.run("runs", "show", "a1").output) == RUN
    assert studio.run("runs", "cancel", "a1").output.split()[-1] == "cancelling"


def test_launch_follows_to_the_end_and_its_exit_code_tells_how_it_ended(studio: Table, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('algorithm = "copg"\nbeta = 0.06\n')
    studio.handler.answers |= {
        "POST /api/v1/runs": [(201, RUN | {"state": "queued"})],
        "GET /api/v1/runs/a1": [(200, RUN), (200, RUN | {"state": "succeeded", "stage": None, "step": 20})],
    }
    followed = studio.run("launch", str(file), "--name", "mine", "--follow")
    assert followed.exit_code == 0
    assert "step 20/20" in followed.output
    assert studio.handler.bodies == [{"config": {"algorithm": "copg", "beta": 0.06}, "name": "mine"}]
    studio.handler.answers["GET /api/v1/runs/a1"] = [(200, RUN | {"state": "failed", "error": "the reward is NaN"})]
    failed = studio.run("launch", str(file), "--follow")
    assert failed.exit_code == 1
    assert "the reward is NaN" in failed.output


def test_steps_that_are_configured_are_shown_before_the_data_are_read(studio: Table) -> None:
    queued = RUN | {"state": "queued", "step": 0, "total_steps": None, "config": {"steps": 40}}
    studio.handler.answers["GET /api/v1/runs/a1"] = [(200, queued), (200, RUN | {"state": "succeeded"})]
    assert "queued  training  step 0/40" in studio.run("runs", "follow", "a1").output


@pytest.mark.parametrize(
    ("states", "stopped_early", "code"),
    [({"succeeded": 2}, 0, 0), ({"cancelled": 2}, 0, 1), ({"succeeded": 1, "cancelled": 1}, 1, 0),
     ({"succeeded": 1, "failed": 1}, 0, 1)],
)  # fmt: skip
def test_waiting_for_a_sweep_tells_how_it_ended(
    studio: Table, states: dict[str, int], stopped_early: int, code: int
) -> None:
    ended = {"active": False, "progress": 1.0, "states": states, "stopped_early": stopped_early}
    studio.handler.answers["GET /api/v1/sweeps/a1"] = [(200, ended)]
    assert studio.run("sweeps", "wait", "a1").exit_code == code


def test_a_refusal_names_the_field(studio: Table, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('algorithm = "copg"\nbeta = -1\n')
    problem = {
        "title": "Invalid",
        "detail": "1 field is wrong",
        "errors": [{"field": "config.beta", "message": "too small"}],
    }
    studio.handler.answers["POST /api/v1/runs"] = [(422, problem)]
    refused = studio.run("launch", str(tmp_path / "run.toml"))
    assert refused.exit_code == 1
    assert "1 field is wrong\n  config.beta: too small" in refused.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["runs", "list", "--server", "http://127.0.0.1:1"], "start one with `copg up`"),
        (["runs", "list", "--server", "nonsense"], "no studio answers at nonsense"),
        (["launch", "/no/such/file.toml"], "/no/such/file.toml cannot be read"),
    ],
)
def test_a_mistake_gets_a_sentence(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert said in result.output
    assert isinstance(result.exception, SystemExit)


def test_a_setting_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COPG_SLOTS", "many")
    result = CliRunner().invoke(main, ["up"])
    assert result.exit_code == 1
    assert "COPG_SLOTS must be a number, not 'many'" in result.output


def test_train_is_handed_to_the_library(tmp_path: Path) -> None:
    copg = Path(sys.executable).with_name("copg")
    missing = subprocess.run(
        [copg, "train", str(tmp_path / "none.toml"), "--dry-run"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert missing.returncode == 1
    assert "cannot be read" in missing.stderr
    assert "Traceback" not in missing.stderr
