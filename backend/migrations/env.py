"""Alembic's entry: runs inside the transaction that `backend.migrations` has opened and locked."""

from __future__ import annotations

from alembic import context

from backend import (  # noqa: F401 - puts their tables into the metadata
    models_artifacts,
    models_data,
    models_machines,
    models_search,
    models_security,
    models_sweeps,
    models_webhooks,
)
from backend.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,  # on SQLite too: our engine begins transactions itself
    render_as_batch=True,  # SQLite changes a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
