"""The secret of a webhook can be replaced; the one before it signs too, for a while."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("webhook", sa.Column("old_secret", sa.String(length=80), nullable=True))
    op.add_column("webhook", sa.Column("old_secret_until", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("webhook", "old_secret_until")
    op.drop_column("webhook", "old_secret")
