"""Engine, sessions and the one clock. One request or task = one transaction.

SQLite runs in WAL mode and takes its write lock when a transaction begins, so that a reader never has to be promoted.
PostgreSQL connections carry time limits: a frozen process inside a transaction must not block everybody else.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Double, Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.sql.functions import FunctionElement

from backend.telemetry import DATABASE_ERRORS


class db_now(FunctionElement[float]):  # noqa: N801 - reads as the SQL function that it is
    """The database's clock, seconds since 1970: the only clock that leases and timestamps use."""

    type = Double()
    inherit_cache = True
    name = "db_now"


@compiles(db_now, "sqlite")
def _now_sqlite(element: Any, compiler: Any, **kwargs: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(db_now, "postgresql")
def _now_postgresql(element: Any, compiler: Any, **kwargs: Any) -> str:
    return "extract(epoch from clock_timestamp())::float8"


NOW = db_now()


def create_database_engine(url: str) -> Engine:
    """An engine for `sqlite:///path` or `postgresql+psycopg://...`, with the settings that survive faults."""
    if make_url(url).get_backend_name() == "sqlite":
        # As many connections as the web process has threads: opening one costs as much as a small query.
        engine = create_engine(url, pool_size=40, connect_args={"timeout": 30, "check_same_thread": False})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(
            "BEGIN" if connection.get_execution_options().get("read_only") else "BEGIN IMMEDIATE"))  # fmt: skip
        return _counted(engine)
    engine = create_engine(
        url,
        pool_pre_ping=True,
        pool_size=10,
        max_overflow=20,
        isolation_level="READ COMMITTED",
        connect_args={
            "connect_timeout": 10,  # a network that swallows packets must not hold a worker's heartbeat for minutes
            "keepalives_idle": 30,
            "tcp_user_timeout": 30_000,
            "options": "-c lock_timeout=5000 -c idle_in_transaction_session_timeout=15000 -c statement_timeout=30000",
        },
    )
    return _counted(engine)


def _counted(engine: Engine) -> Engine:
    """The engine, with its errors counted by SQLAlchemy's word for them, of which there are few."""
    event.listen(engine, "handle_error", lambda context: DATABASE_ERRORS.labels(_kind(context)).inc())
    return engine


def _kind(context: ExceptionContext) -> str:
    return type(context.sqlalchemy_exception or context.original_exception).__name__


def _prepare_sqlite(connection: sqlite3.Connection, record: Any) -> None:
    connection.isolation_level = None  # transactions begin where SQLAlchemy says so
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=30000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


class Database:
    """An engine with its two ways in: a transaction that writes, a snapshot that only reads."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = create_database_engine(url)
        self._writing = sessionmaker(self.engine, expire_on_commit=False)
        options: dict[str, Any] = {"read_only": True}
        if self.engine.dialect.name == "postgresql":  # else each statement would see what was committed before it
            options["isolation_level"] = "REPEATABLE READ"
        self._reading = sessionmaker(self.engine.execution_options(**options), expire_on_commit=False)

    @contextmanager
    def transaction(self, *, rehearsed: bool = False) -> Iterator[Session]:
        """Commits at the end, rolls back on an exception; if it is only `rehearsed`, rolls back in any case."""
        with self._writing.begin() as session:
            yield session
            if rehearsed:
                session.flush()  # what the database would refuse, it refuses in a rehearsal too
                session.rollback()

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """Reads one state of the database, without taking SQLite's write lock; never commits."""
        with self._reading() as session:
            yield session

    def close(self) -> None:
        self.engine.dispose()
