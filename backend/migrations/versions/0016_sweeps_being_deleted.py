"""A sweep says that it is being deleted, so that nobody takes its runs up again and that another process can finish."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sweep", sa.Column("deleting_at", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("sweep", "deleting_at")
