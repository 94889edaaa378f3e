"""What GPUs did at each heartbeat is kept for a while."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "gpu_device",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("uuid", sa.String(length=80), nullable=False),
        sa.Column("host", sa.String(length=120), nullable=False),
        sa.Column("idx", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("memory_total", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("uuid"),
    )
    op.create_table(
        "gpu_sample",
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("device_id", sa.Integer(), nullable=False),
        sa.Column("period", sa.Double(), nullable=False),
        sa.Column("utilisation", sa.Integer(), nullable=True),
        sa.Column("memory_used", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["device_id"], ["gpu_device.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("at", "device_id"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("gpu_sample")
    op.drop_table("gpu_device")
