"""docs/machines.md: its unit starts what the image starts, its variables exist, its compose override fits."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from kombu import Connection
from sqlalchemy.engine import make_url

from backend.queue import celery_app, ping, send_hint
from backend.routes.system import _ping_broker
from backend.settings import Settings
from tests.conftest import missing
from tests.torture.servers import free_port
from tests.worker.test_compose import COMPOSE, KNOWN, ROOT

PAGE = (ROOT / "docs" / "machines.md").read_text()


class _Unit(configparser.RawConfigParser):
    """systemd's files repeat a key, which adds to a list."""

    def __init__(self, text: str) -> None:
        super().__init__(strict=False, delimiters=["="], interpolation=None)
        self.optionxform = str  # type: ignore[assignment,method-assign]
        numbered = iter(range(1000))
        self.read_string(re.sub(r"^Environment=", lambda _: f"Environment {next(numbered)}=", text, flags=re.MULTILINE))

    def environment(self) -> dict[str, str]:
        lines = [value for key, value in self["Service"].items() if key.startswith("Environment ")]
        return dict(line.split("=", 1) for line in lines)


def block(language: str, of: str = "") -> str:
    """The one block of a language, or the one in which something stands."""
    [found] = [text for text in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if of in text]
    return str(found)


UNIT = _Unit(block("ini"))


def test_the_unit_starts_what_the_image_starts() -> None:
    text = (ROOT / "docker" / "worker.Dockerfile").read_text()
    [command] = re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE)
    script = json.loads(command)[-1].removeprefix("exec ").replace("${COPG_QUEUE:-default}", "default")
    slots = UNIT.environment()["COPG_SLOTS"]
    program, *arguments = shlex.split(UNIT["Service"]["ExecStart"])
    assert [Path(program).name, *arguments] == shlex.split(script.replace("${COPG_SLOTS:-1}", slots))


def test_the_unit_gives_a_run_time_for_its_checkpoint() -> None:
    service = UNIT["Service"]
    assert int(service["TimeoutStopSec"]) > int(UNIT.environment()["COPG_GRACE_SECONDS"])
    assert (service["KillMode"], service["KillSignal"], service["Restart"]) == ("mixed", "SIGTERM", "always")
    assert service["User"] != "root"


def test_the_variables_exist_and_the_addresses_are_understood() -> None:
    environment = UNIT.environment()
    assert {name.removesuffix("_FILE") for name in environment} <= KNOWN
    assert set(re.findall(r"\bCOPG_[A-Z_]+[A-Z]\b", PAGE)) <= KNOWN | {f"{name}_FILE" for name in KNOWN}
    database = make_url(environment["COPG_DATABASE_URL"])
    assert (database.drivername, database.query["sslmode"]) == ("postgresql+psycopg", "verify-full")
    with Connection(environment["COPG_BROKER_URL"]) as broker:
        assert broker.transport_cls == "rediss"
        assert broker.hostname == "10.0.0.1"


def test_the_broker_is_reached_over_tls_with_its_password_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unit's variables with this machine's paths, against a server that speaks nothing but TLS."""
    server, openssl = shutil.which("redis-server"), shutil.which("openssl")
    if server is None or openssl is None:
        missing("Redis", "no redis-server built with TLS, or no openssl")
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out", "ca.crt", "-days", "1",
         "-subj", "/CN=broker", "-addext", "subjectAltName=IP:127.0.0.1"], cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    (tmp_path / "broker_password").write_text("not: in/the@url\n")
    port = free_port()
    override = yaml.safe_load(block("yaml", "valkey:"))["services"]["valkey"]["command"][-1]
    script = (
        override.replace("$$", "$")
        .replace("/run/secrets", str(tmp_path))
        .replace("dir /data", f"port 0\ndir {tmp_path}")
    )
    script = (
        script.replace("/tls/server.crt", "ca.crt").replace("/tls/server.key", "key").replace("/tls/ca.crt", "ca.crt")
    )
    script = script.replace("6380", str(port)).replace("valkey-server", server)
    process = subprocess.Popen(["sh", "-c", script], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        environment = UNIT.environment()
        url = environment["COPG_BROKER_URL"].replace("10.0.0.1:6380", f"127.0.0.1:{port}")
        monkeypatch.setenv("COPG_BROKER_URL", url.replace("/etc/copg", str(tmp_path)))
        monkeypatch.setenv("COPG_BROKER_PASSWORD_FILE", str(tmp_path / "broker_password"))
        settings = Settings.from_environment()
        app = celery_app(settings)
        deadline = time.monotonic() + 20
        while not ping(app):
            assert process.poll() is None, process.communicate()[0][-1000:]
            assert time.monotonic() < deadline, "the broker was not reached"
            time.sleep(0.1)
        assert _ping_broker(settings) == 1
        assert send_hint(app, "run", "default")
        monkeypatch.setenv("COPG_BROKER_URL", url.replace("/etc/copg/ca.crt", "/etc/ssl/certs/ca-certificates.crt"))
        assert not ping(celery_app(Settings.from_environment())), "a certificate of nobody was believed"
        app.close()
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_the_override_changes_services_that_exist_and_keeps_their_settings() -> None:
    override: dict[str, Any] = yaml.safe_load(block("yaml", "valkey:"))
    assert set(override["services"]) <= set(COMPOSE["services"])
    plain = COMPOSE["services"]["valkey"]["command"][-1].splitlines()
    with_tls = override["services"]["valkey"]["command"][-1].splitlines()
    assert [line for line in with_tls if not line.startswith("tls-")] == plain
    for service in override["services"].values():
        for port in service["ports"]:
            assert not port.startswith("0.0.0.0"), "published to everybody"


def test_the_page_names_the_order_of_an_upgrade() -> None:
    assert PAGE.index("Stop the workers") < PAGE.index("backend.migrations") < PAGE.index("Start the web process")
