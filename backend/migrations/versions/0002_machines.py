"""What scheduling needs: GPUs, wanted resources, time limits, a paused queue."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_RUN: dict[str, Any] = {
    "gpus": sa.Integer(),
    "max_seconds": sa.Double(),
    "claimed_at": sa.Double(),
    "head_since": sa.Double(),
    "offered_to": sa.String(length=120),
    "reserved_node": sa.String(length=120),
}
_TAKEN = sa.text("run_id IS NOT NULL")


def upgrade() -> None:
    # ADD COLUMN, which both databases do in place: no copy of a table that others refer to.
    for name, kind in _RUN.items():
        op.add_column("run", sa.Column(name, kind, nullable=True))
    op.add_column("run", sa.Column("used_seconds", sa.Double(), server_default="0", nullable=False))
    op.add_column("run", sa.Column("config_schema", sa.Integer(), server_default="1", nullable=False))
    op.add_column("node", sa.Column("cpu_slots", sa.Integer(), server_default="0", nullable=False))
    op.add_column("node", sa.Column("config_schema", sa.Integer(), server_default="1", nullable=False))
    op.add_column("node", sa.Column("draining", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_table(
        "gpu",
        sa.Column("node_id", _BIG, nullable=False),
        sa.Column("idx", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("uuid", sa.String(length=80), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("memory_total", sa.BigInteger(), nullable=True),
        sa.Column("memory_used", sa.BigInteger(), nullable=True),
        sa.Column("utilisation", sa.Integer(), nullable=True),
        sa.Column("run_id", _BIG, nullable=True),
        sa.ForeignKeyConstraint(["node_id"], ["node.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("node_id", "idx"),
    )
    op.create_index("ix_gpu_run_id", "gpu", ["run_id"])
    op.create_index(
        "uq_gpu_taken", "gpu", ["uuid"], unique=True, sqlite_where=_TAKEN, postgresql_where=_TAKEN,
    )  # fmt: skip
    op.create_table(
        "queue_control",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("paused_at", sa.Double(), nullable=True),
        sa.Column("paused_by", sa.String(length=120), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )


def downgrade() -> None:
    op.drop_table("queue_control")
    op.drop_table("gpu")
    for name in ("draining", "config_schema", "cpu_slots"):
        op.drop_column("node", name)
    for name in ("config_schema", "used_seconds", *reversed(_RUN)):
        op.drop_column("run", name)
