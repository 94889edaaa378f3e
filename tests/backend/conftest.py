"""The whole application over a fresh database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from backend.database import Database
from backend.main import create_app
from backend.retention import Leftovers, Sweeper
from backend.settings import Settings
from tests.backend.studio_bench import LOCAL, Bench


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(data_dir=str(tmp_path / "data"), database_url=database_url, feed_seconds=0.02)


@pytest.fixture
def own_removals(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test alone removes what is given up: the application's own loops would be there first, now and then."""
    for loop in (Leftovers, Sweeper):
        monkeypatch.setattr(loop, "start", lambda self: None)


@pytest.fixture
def bench(settings: Settings, database: Database) -> Iterator[Bench]:
    with TestClient(create_app(settings), LOCAL, raise_server_exceptions=False) as client:
        yield Bench(client, database, settings)
