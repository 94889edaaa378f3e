"""`python -m worker.health`: whether a worker of this machine has been heard of, for a container's health check.

What counts is what the queue sees: a worker that cannot reach the database is not well, whatever its process says.
"""

from __future__ import annotations

import socket
import sys

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from backend.database import NOW, Database
from backend.models import Node
from backend.settings import Settings


def problem(settings: Settings) -> str | None:
    """What is wrong, as a sentence; None where a worker of this host and queue wrote its heartbeat within a lease."""
    host, queue = socket.gethostname(), settings.queue
    alive = (Node.host == host, Node.queue == queue, Node.seen > NOW - settings.lease_seconds)
    database = Database(settings.effective_database_url)
    try:
        with database.snapshot() as session:
            found = session.scalar(select(func.count()).select_from(Node).where(*alive))
    except SQLAlchemyError as error:
        return f"the database does not answer: {getattr(error, 'orig', error)}"
    finally:
        database.close()
    return None if found else f"no worker of {host} was heard of within {settings.lease_seconds:g} s"


def main() -> int:
    try:
        found = problem(Settings.from_environment())
    except ValueError as error:
        found = str(error)
    if found is not None:
        sys.stderr.write(f"{found}\n")
    return int(found is not None)


if __name__ == "__main__":
    sys.exit(main())
