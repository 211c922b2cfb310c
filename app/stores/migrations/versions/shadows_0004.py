"""Answers of shadows beside those that callers got."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table."""
    names = ("model", "primary_deployment", "primary_arm", "shadow_deployment", "primary_outcome", "shadow_outcome")
    numbers = ("primary_tokens", "shadow_tokens", "primary_nano", "shadow_nano", "primary_length", "shadow_length")
    op.create_table(
        "shadow_comparisons",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("request_id", sa.String(255), nullable=False),
        sa.Column("at", sa.Float(53), nullable=False),
        *(sa.Column(name, sa.String(255), nullable=False) for name in names),
        sa.Column("primary_seconds", sa.Float(53), nullable=False),
        sa.Column("shadow_seconds", sa.Float(53), nullable=False),
        sa.Column("primary_first_seconds", sa.Float(53)),
        sa.Column("shadow_first_seconds", sa.Float(53)),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in numbers),
        sa.Column("primary_refused", sa.Boolean, nullable=False),
        sa.Column("shadow_refused", sa.Boolean, nullable=False),
        sa.Column("primary_harm", sa.Boolean),
        sa.Column("shadow_harm", sa.Boolean),
        sa.Column("primary_format_ok", sa.Boolean),
        sa.Column("shadow_format_ok", sa.Boolean),
        sa.Column("same_tools", sa.Boolean),
        sa.Column("similarity", sa.Float(53)),
    )
    op.create_index("shadow_comparisons_model", "shadow_comparisons", ["model", "at"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("shadow_comparisons")
