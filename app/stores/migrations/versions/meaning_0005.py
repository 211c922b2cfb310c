"""How alike the answers of a shadow are in what they mean; their texts, where content is captured."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_NAMES = ("primary_text", "shadow_text")


def upgrade() -> None:
    """Add the columns."""
    op.add_column("shadow_comparisons", sa.Column("meaning", sa.Float(53)))
    for name in _NAMES:
        op.add_column("shadow_comparisons", sa.Column(name, sa.Text))


def downgrade() -> None:
    """Drop them."""
    for name in ("meaning", *_NAMES):
        op.drop_column("shadow_comparisons", name)
