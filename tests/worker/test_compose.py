"""The compose file and the images, checked without a container engine: their names, and their commands run for real."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from backend.settings import Settings
from copg_core.config import SFTConfig
from copg_core.sources import PresetModel, TaskData

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
IMAGES = sorted((ROOT / "docker").glob("*.Dockerfile"))
BIN = Path(sys.executable).parent


def image_command(name: str) -> list[str]:
    text = (ROOT / "docker" / f"{name}.Dockerfile").read_text()
    last = re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE)[-1]
    return list(json.loads(last))


def test_every_variable_is_one_that_the_processes_read() -> None:
    known = {f"COPG_{item.name.upper()}" for item in fields(Settings)}
    for name in ("migrate", "web", "worker"):
        assert set(SERVICES[name]["environment"]) <= known
        assert {"COPG_DATABASE_URL", "COPG_BROKER_URL", "COPG_DATA_DIR"} <= set(SERVICES[name]["environment"])
    for path in IMAGES:
        assert set(re.findall(r"\bCOPG_[A-Z_]+[A-Z]", path.read_text())) <= known


def test_every_service_says_when_it_is_ready_and_waits_for_what_it_needs() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            ready = "service_completed_successfully" if other == "migrate" else "service_healthy"
            assert how["condition"] == ready, name
            assert other == "migrate" or "healthcheck" in SERVICES[other]
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in COMPOSE["volumes"]
    assert SERVICES["worker"]["stop_grace_period"] == "180s"
    assert int(SERVICES["worker"]["environment"]["COPG_GRACE_SECONDS"]) < 180


def test_only_the_page_is_published_and_only_to_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"web": ["127.0.0.1:8000:8000"]}


def test_the_broker_has_a_password_and_forgets_nothing() -> None:
    command = SERVICES["valkey"]["command"]
    given = dict(zip(command[1::2], command[2::2], strict=True))
    assert given["--requirepass"].startswith("${COPG_BROKER_PASSWORD:?")
    assert (given["--appendonly"], given["--maxmemory-policy"]) == ("yes", "noeviction")


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.stem)
def test_images_copy_only_what_exists_and_do_not_run_as_root(path: Path) -> None:
    text = path.read_text()
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for source in line.split():
            assert (ROOT / source).exists(), f"{path.name} copies {source}"
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE)[-1] == "copg"


def test_the_web_image_has_no_torch() -> None:
    text = (ROOT / "docker" / "web.Dockerfile").read_text()
    assert re.findall(r"pip install .*\"\.\[(.+)\]\"", text) == ["web"]


def test_the_commands_work_without_containers(
    postgres_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """migrate, web, its health check, and the worker: as the images start them, on free ports."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    settings = replace(
        Settings(),
        data_dir=str(tmp_path),
        database_url=postgres_url,
        broker_url=redis_url,
        queue=f"compose-{os.getpid()}",
    )
    variables = {f"COPG_{item.name.upper()}": str(getattr(settings, item.name)) for item in fields(settings)}
    environment = {**os.environ, **variables, "PATH": f"{BIN}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    del environment["COPG_WORKER_NAME"]
    migrate = SERVICES["migrate"]["command"]
    subprocess.run([sys.executable, *migrate[1:]], check=True, env=environment, cwd=ROOT, timeout=120)
    web = [port if part == "8000" else part for part in image_command("web")]
    started = [
        subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in (web, image_command("worker"))
    ]
    try:
        address = f"http://127.0.0.1:{port}/api/v1"
        until(lambda: health(address).get("workers") == 1)
        check = [part.replace("8000", port) for part in SERVICES["web"]["healthcheck"]["test"][1:]]
        subprocess.run([sys.executable, *check[1:]], check=True, timeout=60)
        config = SFTConfig(
            policy=PresetModel(size="nano"), data=TaskData(train_size=32, validation_size=8), batch_size=8, steps=2
        )
        run = httpx.post(f"{address}/runs", json={"config": config.model_dump(mode="json")}, timeout=30).json()
        until(lambda: httpx.get(f"{address}/runs/{run['id']}", timeout=30).json()["state"] == "succeeded")
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(60) for process in started]
    assert codes[1] == 0
    assert codes[0] in (0, -signal.SIGTERM)  # uvicorn ends by the signal that stopped it


def health(address: str) -> dict[str, Any]:
    try:
        return dict(httpx.get(f"{address}/health", timeout=10).json())
    except httpx.TransportError:
        return {}


def until(condition: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def test_the_modules_that_the_commands_name_exist() -> None:
    for module, attribute in (("backend.main", "create_app"), ("backend.migrations", "upgrade")):
        assert hasattr(importlib.import_module(module), attribute)
