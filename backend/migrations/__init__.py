"""The database's schema, step by step. `upgrade(url)` runs before anything serves; it is safe to run twice or at once.

All steps of one upgrade are one transaction on both databases: a failure leaves the schema as it was. Who comes second
waits: on SQLite for the write lock that the transaction begins with, on PostgreSQL for an advisory lock.

SQLite changes a table by copying it. With foreign keys on, dropping the old table would delete every row that refers to
it, so that they are off during an upgrade and all of them are checked before it is committed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, event, text
from sqlalchemy.engine import make_url

from backend.database import create_database_engine

_LOCK = 0x436F5047  # "CoPG"


class SchemaError(Exception):
    """The database's schema cannot be brought to what this version needs; says why."""


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database at `url` to this version's schema. Raises SchemaError where a newer version wrote it."""
    _run(url, lambda config: command.upgrade(config, revision))


def downgrade(url: str, revision: str = "base") -> None:
    """Undo steps down to `revision`. What their tables held is lost."""
    _run(url, lambda config: command.downgrade(config, revision))


def configuration(connection: Connection) -> Config:
    """Alembic's configuration over an open transaction; the scripts are found inside the installed package."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _run(url: str, work: Callable[[Config], None]) -> None:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_database_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda connection, record: connection.execute("PRAGMA foreign_keys=OFF"))
    try:
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(text("SET LOCAL statement_timeout = 0"))
                connection.execute(text("SET LOCAL lock_timeout = 0"))
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            work(configuration(connection))
            if engine.dialect.name == "sqlite" and (
                broken := connection.execute(text("PRAGMA foreign_key_check")).all()
            ):
                raise SchemaError(f"the new schema leaves references that lead nowhere: {broken[:5]}")
    except CommandError as error:
        raise SchemaError(
            f"the database {parsed.render_as_string()} has a schema that this version does not know ({error}): "
            "it was written by a newer version; install that one, or use another database"
        ) from error
    finally:
        engine.dispose()
