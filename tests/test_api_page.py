"""Every command of docs/api.md is run, in its order, against a studio."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from pathlib import Path

import uvicorn

from backend.main import create_app
from backend.migrations import upgrade
from backend.settings import Settings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "api.md"


def test_the_commands_work(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'copg.sqlite3'}"
    upgrade(url)
    application = create_app(Settings(data_dir=str(tmp_path / "data"), database_url=url))
    server = uvicorn.Server(uvicorn.Config(application, port=0, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) >= 6
    script = f"set -euo pipefail\nSTUDIO=http://127.0.0.1:{port}/api/v1\n" + "\n".join(blocks)
    try:
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
        )
    finally:
        server.should_exit = True
        thread.join(20)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert '"outcome":"done"' in done.stdout
    assert '"total":1' in done.stdout
