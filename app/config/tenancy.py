"""The settings of who pays and how much: budgets, limits, keys and tenants."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from app.config.secret import KeySecret
from app.config.types import Amount, Count, Name, Settings, Usd


class Budget(Settings):
    """Tokens, money, or both that a scope may use in a UTC calendar window."""

    window: Literal["minute", "hour", "day", "month", "total"]
    """The calendar window (UTC) that is counted; a request belongs to the one in which it was reserved."""
    tokens: Amount | None = None
    """Tokens allowed; 0 allows nothing."""
    usd: Annotated[Usd, Field(le=9_000_000)] | None = None
    """US dollars allowed; 0 allows nothing."""


class Limits(Settings):
    """How fast a tenant may go."""

    requests_per_minute: Count | None = None
    """Requests; a token bucket."""
    tokens_per_minute: Count | None = None
    """Tokens; a token bucket."""
    concurrent: Count | None = None
    """Requests at a time."""


class Key(Settings):
    """A credential that a caller holds."""

    name: Name
    """Its name within the tenant."""
    secret: KeySecret
    """Reference to the secret."""
    models: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None
    """Models that it may use; left out: all."""
    budgets: tuple[Budget, ...] = ()
    """What it may use."""
    pin: bool = False
    """Whether it may choose a deployment of the model itself, with `x-sluicegate-pin`."""


class Tenant(Settings):
    """Who pays."""

    name: Name
    """Its name; stands in metrics and the ledger."""
    keys: tuple[Key, ...] = ()
    """The credentials of its callers."""
    budgets: tuple[Budget, ...] = ()
    """What all its keys together may use."""
    limits: Limits = Limits()
    """How fast all its keys together may go."""
    on_over_budget: Literal["reject", "clamp"] = "reject"
    """What happens to a request whose bound does not fit: refused, or its output cap lowered."""
    clamp_floor: Count = 64
    """Lowest output cap that `clamp` may set, in tokens."""
    on_store_failure: Literal["closed", "local_slice"] = "closed"
    """What happens while the limit store cannot be reached: requests are refused, or go on within what this process
    already holds."""
    allow_shadow: bool = True
    """Whether its requests may be copied to a shadow."""
