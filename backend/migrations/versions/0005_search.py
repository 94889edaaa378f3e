"""What lists are filtered by and what makes requests repeatable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TEXT = 500  # characters
_PATH = 200
_ROWS = 1000
_KEYED = {"runs": "run", "pipelines": "pipeline"}


def upgrade() -> None:
    op.create_table(
        "field",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("path"),
    )
    op.create_table(
        "run_field",
        sa.Column("field_id", sa.Integer(), nullable=False),
        sa.Column("run_id", _BIG, nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("number", sa.Double(), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["field_id"], ["field.id"]),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("field_id", "run_id", "item", postgresql_include=["number", "text"]),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_run_field_run_id", "run_field", ["run_id"])
    op.create_table(
        "run_text",
        sa.Column("run_id", _BIG, autoincrement=False, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id"),
    )
    op.create_table(
        "idempotency_key",
        sa.Column("scope", sa.String(length=40), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("request_hash", sa.String(length=64), nullable=False),
        sa.Column("made", sa.String(length=64), server_default="", nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "key"),
    )
    op.create_index("ix_idempotency_key_created_at", "idempotency_key", ["created_at"])
    op.add_column("run", sa.Column("tags", sa.JSON(), server_default=sa.text("'[]'"), nullable=False))
    op.add_column("run", sa.Column("edited", sa.Integer(), server_default="0", nullable=False))
    op.add_column("run", sa.Column("edits", sa.JSON(), server_default=sa.text("'{}'"), nullable=False))
    for scope, table in _KEYED.items():
        op.execute(
            "INSERT INTO idempotency_key (scope, key, request_hash, made, created_at) "
            f"SELECT '{scope}', idempotency_key, coalesce(request_hash, ''), uid, created_at FROM {table} "
            "WHERE idempotency_key IS NOT NULL"
        )
        with op.batch_alter_table(table) as batch:
            batch.drop_column("request_hash")
            batch.drop_column("idempotency_key")
    _fill(op.get_bind())


def downgrade() -> None:
    for scope, table in _KEYED.items():
        with op.batch_alter_table(table) as batch:
            batch.add_column(sa.Column("idempotency_key", sa.String(length=200), nullable=True))
            batch.add_column(sa.Column("request_hash", sa.String(length=64), nullable=True))
            batch.create_unique_constraint(f"{table}_idempotency_key_key", ["idempotency_key"])
        mine = f"FROM idempotency_key WHERE scope = '{scope}' AND made = {table}.uid"
        op.execute(
            f"UPDATE {table} SET idempotency_key = (SELECT min(key) {mine}), "
            f"request_hash = (SELECT min(request_hash) {mine})"
        )
    for name in ("edits", "edited", "tags"):
        op.drop_column("run", name)
    for name in ("idempotency_key", "run_text", "run_field", "field"):
        op.drop_table(name)


def _fill(connection: sa.Connection) -> None:
    """Rows for the runs that are there already. The shape of the rows is frozen here, as the table's is."""
    run = sa.table("run", sa.column("id"), sa.column("uid"), sa.column("name"), sa.column("notes"),
                   sa.column("config", sa.JSON()))  # fmt: skip
    field = sa.table("field", sa.column("id"), sa.column("path"))
    run_field = sa.table("run_field", *map(sa.column, ("field_id", "run_id", "item", "number", "text")))
    run_text = sa.table("run_text", sa.column("run_id"), sa.column("text"))
    ids: dict[str, int] = {}
    last = 0
    while rows := connection.execute(sa.select(run).where(run.c.id > last).order_by(run.c.id).limit(200)).all():
        values, texts = [], []
        for row in rows:
            leaves = [leaf for leaf in _leaves(row.config, "config") if len(leaf[0]) <= _PATH][:_ROWS]
            for path, item, number, text in leaves:
                if path not in ids:
                    ids[path] = len(ids) + 1
                    connection.execute(sa.insert(field).values(id=ids[path], path=path))
                values.append({"field_id": ids[path], "run_id": row.id, "item": item, "number": number, "text": text})
            words = [row.uid, row.name, row.notes, *(text for _, _, _, text in leaves if text is not None)]
            texts.append({"run_id": row.id, "text": "\n".join(words).casefold().replace("\0", "")})
        if values:
            connection.execute(sa.insert(run_field), values)
        connection.execute(sa.insert(run_text), texts)
        last = rows[-1].id
    if connection.dialect.name == "postgresql":
        connection.execute(
            sa.text("SELECT setval('field_id_seq', coalesce((SELECT max(id) FROM field), 0) + 1, false)")
        )


def _leaves(value: Any, path: str, item: int = 0) -> Iterator[tuple[str, int, float | None, str | None]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            if isinstance(inner, dict | list):
                yield from _leaves(inner, f"{path}.{index}")
            else:
                yield from _leaves(inner, path, index)
    elif isinstance(value, bool):
        yield path, item, None, str(value).lower()
    elif isinstance(value, int | float) and abs(value) < 1e308:
        yield path, item, float(value), None
    elif value is not None:
        yield path, item, None, str(value).replace("\0", "")[:_TEXT]
