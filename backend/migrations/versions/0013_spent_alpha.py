"""A sweep remembers how much of its early stop's error rate was used, so that adding runs later does not exceed it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sweep", sa.Column("alpha_spent", sa.Double(), server_default="0", nullable=False))
    op.add_column("sweep", sa.Column("alpha_before", sa.Double(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("sweep", "alpha_before")
    op.drop_column("sweep", "alpha_spent")
