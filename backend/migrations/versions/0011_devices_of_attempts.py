"""The history of a run says how many devices each attempt held."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("run_event", sa.Column("devices", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("run_event", "devices")
