"""Trials stand among the runs and are told apart by their algorithm."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_run_algorithm", "run", ["algorithm"])


def downgrade() -> None:
    op.drop_index("ix_run_algorithm", table_name="run")
