"""How each request's prompt was counted before it was sent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column; rows that are there do not know."""
    op.add_column("ledger", sa.Column("count_method", sa.String(255)))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("ledger", "count_method")
