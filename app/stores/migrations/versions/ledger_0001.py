"""The ledger and its daily usage."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _names(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String(255), nullable=False) for name in names]


def _numbers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "ledger",
        sa.Column("request_id", sa.String(255), primary_key=True),
        sa.Column("at", sa.Float(53), nullable=False),
        *_names("tenant", "key", "model", "deployment", "arm", "operation", "purpose", "outcome", "method"),
        *_numbers("charged_tokens", "charged_nano", "earlier_tokens", "earlier_nano", "overage_tokens", "overage_nano"),
        *_numbers("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens"),
        *_numbers("images", "price_input", "price_output"),
        sa.Column("price_cached_input", sa.BigInteger),
        sa.Column("price_cache_write", sa.BigInteger),
        sa.Column("price_reasoning", sa.BigInteger),
        *_numbers("price_image", "price_request", "attempts"),
        sa.Column("first_token_seconds", sa.Float(53)),
        sa.Column("seconds", sa.Float(53)),
        sa.Column("template", sa.String(255)),
    )
    op.create_index("ledger_at", "ledger", ["at"])
    op.create_index("ledger_tenant_at", "ledger", ["tenant", "key", "at"])
    op.create_table(
        "usage_daily",
        sa.Column("day", sa.BigInteger, primary_key=True, autoincrement=False),
        *[
            sa.Column(name, sa.String(255), primary_key=True)
            for name in ("tenant", "key", "model", "deployment", "arm", "purpose")
        ],
        *_numbers("requests", "bound_requests", "charged_tokens", "charged_nano", "overage_tokens", "overage_nano"),
        *_numbers("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens"),
        *_numbers("images"),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("usage_daily")
    op.drop_table("ledger")
