"""Every command of the compose file and the images, run without containers: real PostgreSQL and Valkey, both with the
passwords of secret files, and two workers under different users, in different folders, as on two machines."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend import broker
from copg_core.config import SFTConfig
from copg_core.sources import PresetModel, TaskData
from tests.conftest import missing
from tests.torture.servers import Postgres, free_port, postgres_programs
from tests.worker.test_compose import COMPOSE, ROOT, SERVICES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
BIN = Path(sys.executable).parent


def image_command(name: str) -> list[str]:
    text = (ROOT / "docker" / f"{name}.Dockerfile").read_text()
    return list(json.loads(re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE)[-1]))


class Machines:
    """Stands for the container engine: the services' commands and environments with this machine's paths and ports."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self.secrets = folder / "secrets"
        self.secrets.mkdir()
        for name in COMPOSE["secrets"]:
            (self.secrets / name).write_text(secrets.token_hex(32))
            (self.secrets / name).chmod(0o644)
        self.postgres = Postgres(programs, (self.secrets / "database_password").read_text())
        self.ports = {"8000": free_port(), "6379": free_port()}
        self.api = httpx.Client(base_url=f"http://127.0.0.1:{self.ports['8000']}/api/v1", timeout=30)
        self.processes: list[subprocess.Popen[bytes]] = []
        tools = folder / "bin"  # the names that the images have
        tools.mkdir()
        (tools / "valkey-server").symlink_to(broker.server_binary())
        (tools / "valkey-cli").symlink_to(shutil.which("valkey-cli") or shutil.which("redis-cli") or "/nowhere")
        self._path = f"{tools}:{BIN}:{programs}:{os.environ['PATH']}"

    def here(self, text: str, data: Path) -> str:
        text = text.replace("$$", "$").replace("/run/secrets", str(self.secrets)).replace("${COPG_SLOTS:-1}", "1")
        text = text.replace("postgres:5432/copg", f"127.0.0.1:{self.postgres.port}/postgres")
        text = text.replace("valkey:6379", f"127.0.0.1:{self.ports['6379']}").replace(
            "copg -d copg", "copg -d postgres"
        )
        text = text.replace("pg_isready ", f"pg_isready -p {self.postgres.port} ")
        text = text.replace("valkey-cli ", f"valkey-cli -p {self.ports['6379']} ").replace(
            "8000", str(self.ports["8000"])
        )
        return re.sub(r"(?<![\w/])/data\b", str(data), text).replace("dir ", f"port {self.ports['6379']}\ndir ")

    def data(self, name: str, uid: int | None) -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        if uid is not None:
            os.chown(folder, uid, uid)
        return folder

    def command(
        self, service: str, command: list[str], data: Path, uid: int | None
    ) -> tuple[list[str], dict[str, str]]:
        environment = {
            name: self.here(str(value), data) for name, value in SERVICES[service].get("environment", {}).items()
        }
        environment |= {
            "PATH": self._path, "PYTHONPATH": str(ROOT), "HOME": str(data), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
        }  # fmt: skip
        # The interpreter of a test may stand where only root may look: the other user may read, and not write, like root.
        look = "-all,+dac_read_search"
        user = ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", "--inh-caps", look,
                "--ambient-caps", look]  # fmt: skip
        return [*(user if uid is not None else []), *(self.here(part, data) for part in command)], environment

    def start(self, service: str, command: list[str], data: Path, uid: int | None = None) -> subprocess.Popen[bytes]:
        run, environment = self.command(service, command, data, uid)
        with (self.folder / f"{data.name}.log").open("ab") as log:
            process = subprocess.Popen(run, env=environment, cwd="/", stdout=log, stderr=log, start_new_session=True)
        self.processes.append(process)
        return process

    def call(self, service: str, command: list[str], data: Path, uid: int | None = None) -> int:
        run, environment = self.command(service, command, data, uid)
        return subprocess.run(run, env=environment, cwd="/", check=False, timeout=120).returncode

    def healthy(self, service: str, data: Path) -> bool:
        kind, *test = SERVICES[service]["healthcheck"]["test"]
        return self.call(service, ["sh", "-c", *test] if kind == "CMD-SHELL" else test, data) == 0

    def logs(self) -> str:
        return "\n".join(f"== {path.name}\n{path.read_text()[-2000:]}" for path in self.folder.glob("*.log"))

    def until(self, condition: Callable[[], bool], seconds: float = 180) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain\n{self.logs()}"
            time.sleep(0.2)

    def close(self) -> None:
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
        self.api.close()
        self.postgres.close()


@pytest.fixture
def machines() -> Iterator[Machines]:
    programs = postgres_programs()
    if programs is None:
        missing("PostgreSQL", "initdb and postgres are not on this machine")
    if not (shutil.which("valkey-cli") or shutil.which("redis-cli")):
        missing("Redis", "no client of Valkey or Redis, which the health check is made with")
    folder = Path(tempfile.mkdtemp(prefix="copg-machines-"))
    folder.chmod(0o755)
    machines = Machines(folder, programs)
    try:
        yield machines
    finally:
        machines.close()
        shutil.rmtree(folder)


def users() -> list[int | None]:
    """Two users that are not this one, where this one may become somebody else."""
    return [10001, 10002] if os.getuid() == 0 and shutil.which("setpriv") else [None, None]


def test_the_services_work_together_and_workers_of_two_users_both_complete_runs(machines: Machines) -> None:
    first, second = users()
    studio, other = machines.data("studio", first), machines.data("other", second)
    machines.until(lambda: machines.healthy("postgres", studio))
    valkey = machines.start("valkey", SERVICES["valkey"]["command"], machines.data("valkey", first), first)
    machines.until(lambda: machines.healthy("valkey", studio))
    assert machines.call("migrate", SERVICES["migrate"]["command"], studio, first) == 0
    assert machines.call("migrate", SERVICES["migrate"]["command"], studio, first) == 0  # a second time changes nothing
    assert not machines.healthy("web", studio)
    assert not machines.healthy("worker-cpu", studio)
    web = machines.start("web", image_command("web"), studio, first)
    workers = [machines.start("worker-cpu", image_command("worker"), data, uid)
               for data, uid in ((studio, first), (other, second))]  # fmt: skip
    machines.until(lambda: machines.healthy("web", studio))
    machines.until(lambda: machines.healthy("worker-cpu", studio))

    token = (machines.secrets / "admin_token").read_text()
    api = machines.api
    assert api.get("/runs").status_code == 401
    api.headers["Authorization"] = f"Bearer {token}"
    machines.until(lambda: len(api.get("/workers").json()["items"]) == 2)
    config = SFTConfig(
        policy=PresetModel(size="nano"), data=TaskData(train_size=64, validation_size=8), batch_size=4, steps=40
    )

    def completed() -> list[dict[str, Any]]:
        runs = [api.get(f"/runs/{uid}").json() for uid in launched]
        assert not [run for run in runs if run["state"] == "failed"], machines.logs()
        return [run for run in runs if run["state"] == "succeeded"]

    launched = []
    for _ in range(4):
        answer = api.post("/runs", json={"config": config.model_dump(mode="json")})
        assert answer.status_code == 201, answer.text
        launched.append(answer.json()["id"])
    machines.until(lambda: len(completed()) == 4)
    for data, uid in ((studio, first), (other, second)):
        trained = [path for path in (data / "runs").iterdir() if list(path.glob("attempt-*/output"))]
        assert trained, f"the worker of {data.name} completed no run\n{machines.logs()}"
        assert uid is None or {path.stat().st_uid for path in trained} == {uid}

    for process in (*workers, web):
        process.send_signal(signal.SIGTERM)
    assert [worker.wait(90) for worker in workers] == [0, 0]
    assert web.wait(60) in (0, -signal.SIGTERM)  # uvicorn ends by the signal that stopped it
    valkey.send_signal(signal.SIGTERM)
    assert valkey.wait(60) == 0
