"""A usage report as documents and as CSV. Money as exact decimal text as well: JSON readers round long numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from app.exchange import JsonObject
from app.stores.sql import DAY, Usage
from app.stores.tables import GROUPS, SUMS

BY = GROUPS
"""What a report may be told apart by."""
DEFAULT_BY = ("day", "tenant", "key", "model")


def as_documents(found: Sequence[Usage]) -> list[JsonObject]:
    """One document a line; `day` as 2026-11-23, `cost_nano_usd` exact, `cost_usd` its decimal text."""
    return [_document(one) for one in found]


def as_csv(found: Sequence[Usage], by: Sequence[str]) -> str:
    """The same with a head line."""
    out = io.StringIO()
    names = [*by, *(_NAMES.get(name, name) for name in SUMS), "cost_usd"]
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(as_documents(found))
    return out.getvalue()


def usd(nano: int) -> str:
    """Nano-USD as US dollars with nine decimals."""
    return f"{Decimal(nano).scaleb(-9):.9f}"


_NAMES = {"charged_tokens": "tokens", "charged_nano": "cost_nano_usd", "overage_nano": "overage_nano_usd"}


def _document(one: Usage) -> JsonObject:
    group = dict(one.group)
    if "day" in group:
        group["day"] = datetime.fromtimestamp(group["day"] * DAY, UTC).date().isoformat()
    sums = {_NAMES.get(name, name): value for name, value in one.sums.items()}
    return {**group, **sums, "cost_usd": usd(one.sums["charged_nano"])}
