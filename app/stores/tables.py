"""The tables of the ledger. Migrations make them (`migrations/versions`); a test holds that both agree."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text, text

METADATA = MetaData()

NAME = 255
"""Longest name of a tenant, key, model or deployment."""


def _names(*names: str) -> list[Column[str]]:
    return [Column(name, String(NAME), nullable=False) for name in names]


def _numbers(*names: str) -> list[Column[int]]:
    return [Column(name, BigInteger, nullable=False) for name in names]


LEDGER = Table(
    "ledger",
    METADATA,
    Column("request_id", String(NAME), primary_key=True),
    Column("at", Float(53), nullable=False),
    *_names("tenant", "key", "model", "deployment", "arm", "operation", "purpose", "outcome", "method"),
    *_numbers("charged_tokens", "charged_nano", "earlier_tokens", "earlier_nano", "overage_tokens", "overage_nano"),
    *_numbers("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens"),
    *_numbers("images", "price_input", "price_output"),
    Column("price_cached_input", BigInteger),
    Column("price_cache_write", BigInteger),
    Column("price_reasoning", BigInteger),
    *_numbers("price_image", "price_request", "attempts"),
    Column("first_token_seconds", Float(53)),
    Column("seconds", Float(53)),
    Column("template", String(NAME)),
    Column("count_method", String(NAME)),
    Index("ledger_at", "at"),
)
"""One row per request that reached an upstream (`entry.Entry`)."""

GROUPS = ("day", "tenant", "key", "model", "deployment", "arm", "purpose")
"""What daily usage is told apart by. `day` is in days since 1970, UTC, of the reservation."""

SUMS = (
    "requests",
    "bound_requests",
    "charged_tokens",
    "charged_nano",
    "overage_tokens",
    "overage_nano",
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "images",
)
"""What is summed. `bound_requests` were charged at their bound, because nobody knows what they used."""

DAILY = Table(
    "usage_daily",
    METADATA,
    Column("day", BigInteger, primary_key=True, autoincrement=False),
    *[Column(name, String(NAME), primary_key=True) for name in GROUPS[1:]],
    *_numbers(*SUMS),
)
"""The ledger summed by day, kept up in the same transaction; it outlives the ledger's retention."""

_LIVE = text("revoked IS NULL")

TENANTS = Table(
    "tenants",
    METADATA,
    Column("name", String(NAME), primary_key=True),
    Column("settings", Text, nullable=False),
    Column("created", Float(53), nullable=False),
)
"""Tenants made through the admin API; `settings` is JSON as in the configuration's `tenants`, name and keys apart."""

KEYS = Table(
    "keys",
    METADATA,
    Column("id", String(NAME), primary_key=True),
    Column("tenant", String(NAME), nullable=False),
    Column("name", String(NAME), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),
    Column("hint", String(16), nullable=False),
    Column("settings", Text, nullable=False),
    Column("created", Float(53), nullable=False),
    Column("revoked", Float(53)),
    Index("keys_live", "tenant", "name", unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE),
    Index("keys_listed", "tenant", "name", "created", "id"),
)
"""Keys made through the admin API: SHA-256 of the secret in hexadecimal, its first characters, `settings` as in the
configuration's `keys`, name and secret apart. A rotated key has a row for each secret.
"""

AUDIT = Table(
    "audit",
    METADATA,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at", Float(53), nullable=False),
    Column("who", String(NAME), nullable=False),
    Column("what", String(NAME), nullable=False),
    Column("subject", String(600), nullable=False),
    Column("before", Text),
    Column("after", Text),
)
"""Every change: who, what, to which tenant or key, JSON before and after. Its last number is what workers watch."""

ROLLOUTS = Table(
    "rollouts",
    METADATA,
    Column("model", String(NAME), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
)
"""One row per model that ever had a rollout: what was asked for and where it is, as JSON. Each change raises `version`,
and is made only to the version that it was decided on.
"""

EVIDENCE = Table(
    "rollout_evidence",
    METADATA,
    Column("model", String(NAME), primary_key=True),
    Column("document", Text, nullable=False),
)
"""What the controller knows of a rollout, as JSON."""

UNITS = Table(
    "rollout_units",
    METADATA,
    Column("model", String(NAME), primary_key=True),
    Column("unit", String(NAME), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("weight", Float(53), nullable=False),
    Column("ceiling", Float(53), nullable=False),
    Column("candidate", Boolean, nullable=False),
    Column("excluded", Boolean, nullable=False),
)
"""The sticky units that a rollout has met (`control.units.Unit`), by a hash of their names."""

BATCHES = Table(
    "rollout_batches",
    METADATA,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("model", String(NAME), nullable=False),
    Column("body", Text, nullable=False),
    Index("rollout_batches_model", "model", "number"),
)
"""Observations of the workers on their way to the controller, which deletes what it has taken in."""

STEPS = Table(
    "rollout_log",
    METADATA,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("model", String(NAME), nullable=False),
    Column("at", Float(53), nullable=False),
    Column("who", String(NAME), nullable=False),
    Column("event", String(NAME), nullable=False),
    Column("state_before", String(NAME), nullable=False),
    Column("state_after", String(NAME), nullable=False),
    Column("weight_before", Float(53), nullable=False),
    Column("weight_after", Float(53), nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Index("rollout_log_model", "model", "number"),
)
"""Every transition of a rollout: who or what caused it, and the gates' evidence at that time, as JSON."""

LEASES = Table(
    "leases",
    METADATA,
    Column("name", String(NAME), primary_key=True),
    Column("holder", String(NAME), nullable=False),
    Column("until", Float(53), nullable=False),
)
"""Who may act alone, until when by the database's clock."""

ANSWERS = Table(
    "rollout_answers",
    METADATA,
    Column("request_id", String(NAME), primary_key=True),
    Column("model", String(NAME), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("cohort", Float(53), nullable=False),
    Column("unit", String(NAME), nullable=False),
    Column("candidate", Boolean, nullable=False),
    Column("at", Float(53), nullable=False),
    Index("rollout_answers_model", "model", "at"),
)
"""Observed requests of rollouts that heed feedback: to which unit and arm a score belongs."""

FEEDBACK = Table(
    "feedback",
    METADATA,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("request_id", String(NAME), nullable=False, unique=True),
    Column("at", Float(53), nullable=False),
    *_names("tenant", "key", "model", "deployment", "arm"),
    Column("score", Float(53), nullable=False),
    Column("comment", Text),
    Index("feedback_model", "model", "number"),
)
"""What callers said of answers: the last word on each request."""

SHADOWS = Table(
    "shadow_comparisons",
    METADATA,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("request_id", String(NAME), nullable=False),
    Column("at", Float(53), nullable=False),
    *_names("model", "primary_deployment", "primary_arm", "shadow_deployment", "primary_outcome", "shadow_outcome"),
    Column("primary_seconds", Float(53), nullable=False),
    Column("shadow_seconds", Float(53), nullable=False),
    Column("primary_first_seconds", Float(53)),
    Column("shadow_first_seconds", Float(53)),
    *_numbers("primary_tokens", "shadow_tokens", "primary_nano", "shadow_nano", "primary_length", "shadow_length"),
    Column("primary_refused", Boolean, nullable=False),
    Column("shadow_refused", Boolean, nullable=False),
    Column("primary_harm", Boolean),
    Column("shadow_harm", Boolean),
    Column("primary_format_ok", Boolean),
    Column("shadow_format_ok", Boolean),
    Column("same_tools", Boolean),
    Column("similarity", Float(53)),
    Column("meaning", Float(53)),
    Column("primary_text", Text),
    Column("shadow_text", Text),
    Index("shadow_comparisons_model", "model", "at"),
)
"""Answers of a shadow beside those that callers got. Texts, redacted, only where `telemetry.capture_content` is on."""

HOSTS = Table(
    "hosts",
    METADATA,
    Column("id", String(NAME), primary_key=True),
    Column("name", String(NAME), nullable=False),
    Column("since", Float(53), nullable=False),
    Column("seen", Float(53), nullable=False),
)
"""The hosts that may have spent from a shared Redis (`stores.hosts`): when each was known first, and heard of last."""
