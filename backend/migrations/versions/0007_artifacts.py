"""What runs leave behind, by content; pinned checkpoints; places that are still to be cleared."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite numbers rows by itself only in an INTEGER column


def upgrade() -> None:
    op.create_table(
        "artifact",
        sa.Column("id", _BIG, nullable=False),
        sa.Column("uid", sa.String(length=32), nullable=False),
        sa.Column("run_id", _BIG, nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("step", sa.Integer(), nullable=True),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("uid"),
        sa.UniqueConstraint("run_id", "kind", "name", "fence"),
    )
    op.create_index("ix_artifact_run_id", "artifact", ["run_id"])
    op.create_table(
        "artifact_file",
        sa.Column("artifact_id", _BIG, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["artifact_id"], ["artifact.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("artifact_id", "number"),
    )
    op.create_table(
        "removal",
        sa.Column("id", _BIG, nullable=False),
        sa.Column("run_uid", sa.String(length=32), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("not_before", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_removal_run_uid", "removal", ["run_uid"])
    op.add_column("checkpoint", sa.Column("pinned", sa.Boolean(), server_default=sa.false(), nullable=False))


def downgrade() -> None:
    with op.batch_alter_table("checkpoint") as table:
        table.drop_column("pinned")
    op.drop_table("removal")
    op.drop_table("artifact_file")
    op.drop_table("artifact")
