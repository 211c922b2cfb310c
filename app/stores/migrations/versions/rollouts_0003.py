"""Rollouts: where each is, its evidence and observations, its log; the lease of the controller; feedback."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make them."""
    _rollouts()
    _observations()
    _log()
    _feedback()


def downgrade() -> None:
    """Drop them."""
    for name in (
        "feedback",
        "rollout_answers",
        "leases",
        "rollout_log",
        "rollout_batches",
        "rollout_units",
        "rollout_evidence",
        "rollouts",
    ):
        op.drop_table(name)


def _rollouts() -> None:
    op.create_table(
        "rollouts",
        sa.Column("model", sa.String(255), primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "rollout_evidence",
        sa.Column("model", sa.String(255), primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("holder", sa.String(255), nullable=False),
        sa.Column("until", sa.Float(53), nullable=False),
    )


def _observations() -> None:
    op.create_table(
        "rollout_units",
        sa.Column("model", sa.String(255), primary_key=True),
        sa.Column("unit", sa.String(255), primary_key=True),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("weight", sa.Float(53), nullable=False),
        sa.Column("ceiling", sa.Float(53), nullable=False),
        sa.Column("candidate", sa.Boolean, nullable=False),
        sa.Column("excluded", sa.Boolean, nullable=False),
    )
    op.create_table(
        "rollout_batches",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("rollout_batches_model", "rollout_batches", ["model", "number"])


def _log() -> None:
    op.create_table(
        "rollout_log",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("at", sa.Float(53), nullable=False),
        sa.Column("who", sa.String(255), nullable=False),
        sa.Column("event", sa.String(255), nullable=False),
        sa.Column("state_before", sa.String(255), nullable=False),
        sa.Column("state_after", sa.String(255), nullable=False),
        sa.Column("weight_before", sa.Float(53), nullable=False),
        sa.Column("weight_after", sa.Float(53), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
    )
    op.create_index("rollout_log_model", "rollout_log", ["model", "number"])


def _feedback() -> None:
    op.create_table(
        "rollout_answers",
        sa.Column("request_id", sa.String(255), primary_key=True),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("cohort", sa.Float(53), nullable=False),
        sa.Column("unit", sa.String(255), nullable=False),
        sa.Column("candidate", sa.Boolean, nullable=False),
        sa.Column("at", sa.Float(53), nullable=False),
    )
    op.create_index("rollout_answers_model", "rollout_answers", ["model", "at"])
    op.create_table(
        "feedback",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("request_id", sa.String(255), nullable=False, unique=True),
        sa.Column("at", sa.Float(53), nullable=False),
        sa.Column("tenant", sa.String(255), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("deployment", sa.String(255), nullable=False),
        sa.Column("arm", sa.String(255), nullable=False),
        sa.Column("score", sa.Float(53), nullable=False),
        sa.Column("comment", sa.Text),
    )
    op.create_index("feedback_model", "feedback", ["model", "number"])
