"""Uploaded files have a copy in the store."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("dataset", sa.Column("stored_url", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("dataset", "stored_url")
