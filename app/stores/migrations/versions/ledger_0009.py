"""The ledger without the index by tenant and key, which nothing asks any more: each row touched a page of its own."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Drop it."""
    op.drop_index("ledger_tenant_at", "ledger")


def downgrade() -> None:
    """Make it."""
    op.create_index("ledger_tenant_at", "ledger", ["tenant", "key", "at"])
