"""Settings that cannot work are refused at the start, by name and without what is secret."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest

from backend.settings import Settings, variable_of

NUMBERS = [item for item in fields(Settings) if item.type in ("int", "float")]


def test_the_defaults_can_work() -> None:
    Settings().check()


@pytest.mark.parametrize("item", NUMBERS, ids=lambda item: str(item.name))
def test_every_number_has_limits(monkeypatch: pytest.MonkeyPatch, item: object) -> None:
    name = variable_of(item)  # type: ignore[arg-type]
    for value, said in (("-1", "at least"), ("1" + "0" * 30, "at most")):
        monkeypatch.setenv(name, value)
        with pytest.raises(ValueError, match=f"{name} must be {said}"):
            Settings.from_environment()
    if item.type == "float":  # type: ignore[attr-defined]
        for value in (math.nan, math.inf, -math.inf):
            monkeypatch.setenv(name, str(value))
            with pytest.raises(ValueError, match=f"{name} must be at"):
                Settings.from_environment()


@pytest.mark.parametrize(
    ("name", "value"),
    [("COPG_SLOTS", "0"), ("COPG_LEASE_SECONDS", "0"), ("COPG_TICK_SECONDS", "0"), ("COPG_FEED_SECONDS", "0"),
     ("COPG_METRICS_PORT", "65536")],
)  # fmt: skip
def test_what_made_a_worker_start_again_and_again_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=name):
        Settings.from_environment()


@pytest.mark.parametrize(
    "url", ["foo", "mysql://u:secret@h/d", "postgresql://u:secret@h/d", "postgresql+psycopg://u@h:secret/d", "sqlite://"]
)  # fmt: skip
def test_a_database_of_another_kind_is_refused_without_its_password(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("COPG_DATABASE_URL", url)
    with pytest.raises(ValueError, match="COPG_DATABASE_URL must look like") as refused:
        Settings.from_environment()
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["foo", "amqp://u:secret@h", "redis://:secret@h:x/0", "http://h", "redis://"])
def test_a_broker_of_another_kind_is_refused_without_its_password(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("COPG_BROKER_URL", url)
    with pytest.raises(ValueError, match="COPG_BROKER_URL must look like") as refused:
        Settings.from_environment()
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("COPG_DATABASE_URL", "sqlite:////tmp/x y.sqlite3"),
        ("COPG_DATABASE_URL", "postgresql+psycopg://u:p%40@h:5432/d?sslmode=require"),
        ("COPG_DATABASE_URL", "postgresql+psycopg://h"),
        ("COPG_BROKER_URL", "rediss://:p@h:6380/1?ssl_ca_certs=/etc/ca.crt"),
        ("COPG_BROKER_URL", "unix:///run/valkey.sock"),
        ("COPG_BROKER_URL", "redis+socket:///run/valkey.sock"),
        ("COPG_ARTIFACTS_URL", "/mnt/store"),
        ("COPG_ARTIFACTS_URL", "file:///mnt/a%20b"),
        ("COPG_ARTIFACTS_URL", "memory://copg"),
    ],
)
def test_what_can_work_is_taken(monkeypatch: pytest.MonkeyPatch, name: str, url: str) -> None:
    monkeypatch.setenv(name, url)
    Settings.from_environment()


@pytest.mark.parametrize(("url", "said"), [("foo://x", "unknown beginning"), ("abfs://x", "pip install .copg-studio")])
def test_a_store_without_a_driver_is_refused(monkeypatch: pytest.MonkeyPatch, url: str, said: str) -> None:
    monkeypatch.setenv("COPG_ARTIFACTS_URL", url)
    with pytest.raises(ValueError, match=f"COPG_ARTIFACTS_URL: .*{said}"):
        Settings.from_environment()
