"""Sweeps: runs made from one configuration and a grid."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "sweep",
        sa.Column("id", _BIG, nullable=False),
        sa.Column("uid", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("notes", sa.Text(), server_default="", nullable=False),
        sa.Column("priority", sa.Integer(), server_default="0", nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("early_stop", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("uid"),
    )
    op.create_table(
        "sweep_member",
        sa.Column("run_id", _BIG, nullable=False),
        sa.Column("sweep_id", _BIG, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("parent", sa.String(length=20), nullable=True),
        sa.Column("overrides", sa.JSON(), nullable=False),
        sa.Column("config_hash", sa.String(length=64), nullable=False),
        sa.Column("yardstick", sa.String(length=64), nullable=False),
        sa.Column("variant", sa.String(length=80), nullable=True),
        sa.Column("planned_steps", sa.Integer(), nullable=True),
        sa.Column("evaluate_every", sa.Integer(), nullable=False),
        sa.Column("judged_step", sa.Integer(), nullable=True),
        sa.Column("stopped", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweep.id"]),
        sa.PrimaryKeyConstraint("run_id"),
        sa.UniqueConstraint("sweep_id", "position"),
        sa.UniqueConstraint("sweep_id", "config_hash"),
    )


def downgrade() -> None:
    op.drop_table("sweep_member")
    op.drop_table("sweep")
