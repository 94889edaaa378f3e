"""Fixtures for all rooms: a fresh database on each engine, and the services that tests may need.

PostgreSQL and Redis are found through COPG_TEST_POSTGRES and COPG_TEST_REDIS (URLs), else at their usual local addresses.
A missing service skips its tests and says so; with COPG_TEST_REQUIRE_SERVICES=1 it fails them.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from backend.database import Database
from backend.migrations import upgrade

POSTGRES = os.environ.get("COPG_TEST_POSTGRES", "postgresql+psycopg://root@127.0.0.1/test")
REDIS = os.environ.get("COPG_TEST_REDIS", "redis://127.0.0.1:6379/3")
# Tests that start whole studios, kill processes and look for survivors on the machine: one at a time, side by side with others.
_ONE_AT_A_TIME = {"worker", "torture", "e2e"}


class ByRoom(LoadScopeScheduling):
    """Which process runs which tests: a file's stay together and share what the file sets up; whole processes come first."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "processes" if _ONE_AT_A_TIME & set(Path(file).parts) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByRoom:
    config.option.loadscopereorder = False  # in the order of collection, which is ours
    return ByRoom(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest of all, first."""
    items.sort(key=lambda item: not _ONE_AT_A_TIME & set(item.path.relative_to(Path(__file__).parent).parts))


def missing(service: str, why: str) -> NoReturn:
    """Skip, or fail where the run is meant to have every service."""
    if os.environ.get("COPG_TEST_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{service} is required but not there: {why}")
    pytest.skip(f"no {service}: {why}")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a PostgreSQL database of this test session's own, dropped at its end."""
    name = f"copg_{uuid.uuid4().hex[:12]}"
    admin = create_engine(POSTGRES, isolation_level="AUTOCOMMIT")
    try:
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
    except OperationalError as error:
        missing("PostgreSQL", str(error.orig))
    yield make_url(POSTGRES).set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """The session's PostgreSQL database, migrated and empty."""
    upgrade(postgres_server)
    empty_database(postgres_server)
    return postgres_server


def empty_database(url: str) -> None:
    """Delete every row of a migrated PostgreSQL database."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("SET lock_timeout = '10s'"))
        tables = connection.scalars(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'")
        ).all()
        connection.execute(text(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY CASCADE"))
    engine.dispose()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database without rows, to be copied: a copy takes a hundredth of the time of the migrations."""
    path = tmp_path_factory.mktemp("migrated") / "copg.sqlite3"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(tmp_path: Path, migrated_sqlite: Path) -> str:
    """A migrated SQLite database in this test's folder."""
    path = tmp_path / "copg.sqlite3"
    shutil.copyfile(migrated_sqlite, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated, empty database; the test runs once on each engine."""
    name = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    return str(request.getfixturevalue(name))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """The same, opened."""
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def redis_url() -> str:
    """A Redis or Valkey server of which this test session may empty one database."""
    import redis

    address = make_url(REDIS)  # the database after the slash; each process of pytest-xdist has one of its own
    own = int(address.database or 0) + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    url = address.set(database=str(own)).render_as_string(hide_password=False)
    client = redis.Redis.from_url(url)
    try:
        client.ping()
    except redis.ConnectionError as error:
        missing("Redis", str(error))
    finally:
        client.close()
    return url
