"""Keys in the order in which they are listed, page by page."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make the index."""
    op.create_index("keys_listed", "keys", ["tenant", "name", "created", "id"])


def downgrade() -> None:
    """Drop it."""
    op.drop_index("keys_listed", "keys")
