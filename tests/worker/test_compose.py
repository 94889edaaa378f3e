"""The compose file and the images as they are written: linted, named rightly, closed where they need not be open.

test_compose_commands.py runs what they say. No container engine is needed for either.
"""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from backend.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = ("migrate", "web", "worker-cpu", "worker-gpu")
IMAGES = sorted((ROOT / "docker").glob("*.Dockerfile"))
KNOWN = {f"COPG_{item.name.upper()}" for item in fields(Settings)}


def test_every_variable_is_one_that_the_processes_read() -> None:
    for name in OURS:
        variables = {
            variable.removesuffix("_FILE") for variable in SERVICES[name]["environment"] if variable != "HF_HOME"
        }
        assert variables <= KNOWN, name
        assert {"COPG_DATABASE_URL", "COPG_BROKER_URL", "COPG_DATA_DIR"} <= variables
    for path in IMAGES:
        assert set(re.findall(r"\bCOPG_[A-Z_]+[A-Z]", path.read_text())) <= KNOWN


def test_secrets_come_from_files_and_only_to_those_who_need_them() -> None:
    assert {name: secret["file"] for name, secret in COMPOSE["secrets"].items()} == {
        name: f"./secrets/{name}" for name in ("database_password", "broker_password", "admin_token")
    }
    assert not re.findall(r"\$\{\w*(?:PASSWORD|TOKEN|SECRET)", TEXT), "a secret would stand in the environment"
    for name, service in SERVICES.items():
        named = set(re.findall(r"/run/secrets/(\w+)", yaml.safe_dump(service)))
        assert named == set(service["secrets"]), name
    assert [name for name, service in SERVICES.items() if "admin_token" in service["secrets"]] == ["web"]
    assert "secrets/" in (ROOT / ".gitignore").read_text().split()
    assert "secrets" in (ROOT / ".dockerignore").read_text().split()


def test_every_service_says_when_it_is_ready_and_waits_for_what_it_needs() -> None:
    for name, service in SERVICES.items():
        assert "healthcheck" in service or name == "migrate"
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] == ("service_completed_successfully" if other == "migrate" else "service_healthy")
        for volume in service["volumes"]:
            assert volume.split(":")[0] in COMPOSE["volumes"]
    for name in ("worker-cpu", "worker-gpu"):
        assert SERVICES[name]["stop_grace_period"] == "180s"
        assert int(SERVICES[name]["environment"]["COPG_GRACE_SECONDS"]) < 180


def test_every_container_is_closed_where_it_need_not_be_open() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"] == ("no" if name == "migrate" else "unless-stopped"), name
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}, name
    assert {name: SERVICES[name]["user"] for name in ("postgres", "valkey")} == {
        "postgres": "postgres",
        "valkey": "999",
    }
    assert {name: service["ports"] for name, service in SERVICES.items() if "ports" in service} == {
        "web": ["127.0.0.1:8000:8000"]
    }
    assert SERVICES["web"]["environment"]["COPG_ACCESS"] == "token"


def test_profiles_choose_the_worker() -> None:
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {"worker-cpu": ["cpu"], "worker-gpu": ["gpu"]}
    [device] = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}


def test_images_are_pinned_by_version() -> None:
    named = [service["image"] for service in SERVICES.values()]
    for path in IMAGES:
        named += re.findall(r"^FROM (\S+)", path.read_text(), re.MULTILINE)
    for image in named:
        assert re.search(r":\d+\.\d+(\.\d+)?(-\w+)*$", image), image


def test_the_broker_forgets_nothing() -> None:
    script = SERVICES["valkey"]["command"][-1]
    assert "appendonly yes" in script
    assert "maxmemory-policy noeviction" in script


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.stem)
def test_images_are_linted_copy_only_what_exists_and_do_not_run_as_root(path: Path) -> None:
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert linter is not None, "hadolint is a development dependency"
    done = subprocess.run([linter, "--failure-threshold", "info", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    text = path.read_text()
    ignored = (ROOT / ".dockerignore").read_text().split()
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for source in line.split():
            assert (ROOT / source).exists(), f"{path.name} copies {source}"
            assert source not in ignored, f"{source} is not sent to the build"
    last = text.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.+)$", last, re.MULTILINE) == ["10001"]
    assert "--uid 10001" in last
    assert "HEALTHCHECK" in last
    assert "--constraint requirements.lock" in text


def test_the_web_image_has_no_torch() -> None:
    text = (ROOT / "docker" / "web.Dockerfile").read_text()
    assert re.findall(r"whl\)\[(.+?)\]", text) == ["web${STORE:+,$STORE}"]


def test_the_documented_store_is_one_that_the_images_can_be_built_with_and_its_secret_reaches_them() -> None:
    text = (ROOT / "docs" / "machines.md").read_text()
    [block] = [one for one in re.findall(r"```yaml\n(.+?)```", text, re.DOTALL) if "COPG_ARTIFACTS_URL" in one]
    override = yaml.safe_load(block)
    assert set(override["services"]) == {"web", "worker-cpu", "worker-gpu"}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name, service in override["services"].items():
        built = (ROOT / SERVICES[name]["build"]["dockerfile"]).read_text()
        assert all(f"ARG {argument}=" in built for argument in service["build"]["args"])
        assert service["build"]["args"]["STORE"] in extras
        assert {one for one in service["environment"] if one.startswith("COPG_")} <= KNOWN
        assert service["environment"]["AWS_SHARED_CREDENTIALS_FILE"] == f"/run/secrets/{service['secrets'][0]}"
        assert set(service["secrets"]) == set(override["secrets"])


def test_the_modules_that_the_commands_name_exist() -> None:
    for module, attribute in (
        ("backend.main", "create_app"), ("backend.migrations.__main__", "main"), ("backend.health", "main"),
        ("worker.health", "main"),
    ):  # fmt: skip
        assert hasattr(importlib.import_module(module), attribute)
