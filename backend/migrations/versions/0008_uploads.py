"""Uploaded data."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# SQLite's constraint has no name of its own; PostgreSQL named it by this pattern.
_NAMES = {"uq": "%(table_name)s_%(column_0_name)s_key"}
_PRESENT = sa.text("deleted_at IS NULL")


def upgrade() -> None:
    with op.batch_alter_table("dataset", naming_convention=_NAMES) as table:
        table.drop_constraint("dataset_name_key", type_="unique")
        table.alter_column("shape", type_=sa.String(length=200), existing_type=sa.String(length=40))
        table.add_column(sa.Column("file_name", sa.String(length=120), nullable=True))
        table.add_column(sa.Column("bytes", sa.BigInteger(), nullable=True))
        table.add_column(sa.Column("state", sa.String(length=12), server_default="ready", nullable=False))
        table.add_column(sa.Column("error", sa.Text(), nullable=True))
        table.add_column(sa.Column("report", sa.JSON(), nullable=True))
        table.add_column(sa.Column("rows_read", sa.BigInteger(), server_default="0", nullable=False))
        table.add_column(sa.Column("revision", sa.Integer(), server_default="0", nullable=False))
        table.add_column(sa.Column("attempts", sa.Integer(), server_default="0", nullable=False))
        table.add_column(sa.Column("lease_until", sa.Double(), nullable=True))
        table.add_column(sa.Column("deleted_at", sa.Double(), nullable=True))
    op.create_index(
        "uq_dataset_present_name", "dataset", ["name"], unique=True, sqlite_where=_PRESENT, postgresql_where=_PRESENT
    )
    op.create_index(op.f("ix_dataset_content_hash"), "dataset", ["content_hash"])
    op.create_table(
        "run_data",
        sa.Column("run_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("role", sa.String(length=12), nullable=False),
        sa.Column("dataset_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.PrimaryKeyConstraint("run_id", "role"),
    )
    op.create_index(op.f("ix_run_data_dataset_id"), "run_data", ["dataset_id"])


def downgrade() -> None:
    op.drop_table("run_data")
    op.drop_index(op.f("ix_dataset_content_hash"), "dataset")
    op.drop_index("uq_dataset_present_name", "dataset")
    op.execute("DELETE FROM dataset WHERE deleted_at IS NOT NULL OR file_name IS NOT NULL")
    with op.batch_alter_table("dataset", naming_convention=_NAMES) as table:
        for name in (
            "deleted_at", "lease_until", "attempts", "revision", "rows_read", "report", "error", "state", "bytes",
            "file_name",
        ):  # fmt: skip
            table.drop_column(name)
        table.alter_column(
            "shape", type_=sa.String(length=40), existing_type=sa.String(length=200), postgresql_using="left(shape, 40)"
        )
        table.create_unique_constraint("dataset_name_key", ["name"])
