"""Tenants, keys, budgets, limits: defaults and bounds."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.support.configs import loaded, problems


def test_defaults() -> None:
    """A tenant may do everything, refuses rather than overspends, and fails closed."""
    tenant = loaded().tenants[0]
    assert (tenant.on_over_budget, tenant.on_store_failure) == ("reject", "closed")
    assert (tenant.clamp_floor, tenant.allow_shadow, tenant.budgets) == (64, True, ())
    assert tenant.limits.model_dump(exclude_none=True) == {}
    assert (tenant.keys[0].models, tenant.keys[0].budgets) == (None, ())


def test_budgets_of_every_kind() -> None:
    """Tokens, money exact to a millionth, or both; zero allows nothing and may be said."""
    written = [
        {"window": "minute", "tokens": 0},
        {"window": "total", "usd": 0.000001},
        {"window": "month", "tokens": 10**15, "usd": 9_000_000},
    ]
    found = loaded({"budgets": written}).budgets
    assert [(budget.window, budget.tokens, budget.usd) for budget in found] == [
        ("minute", 0, None),
        ("total", None, Decimal("0.000001")),
        ("month", 10**15, 9_000_000),
    ]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "budgets",
            [{"window": "week", "usd": 1}],
            "must be one of `minute`, `hour`, `day`, `month`, `total`, not `week`",
        ),
        ("budgets", [{"usd": 1}], "is required"),
        ("budgets", [{"window": "day", "tokens": -1}], "must be at least 0"),
        ("budgets", [{"window": "day", "tokens": 10**15 + 1}], "must be at most 1000000000000000"),
        ("budgets", [{"window": "day", "tokens": 1.5}], "must be a whole number"),
        ("budgets", [{"window": "day", "usd": -0.5}], "must be from 0 to 1000000000 US dollars"),
        ("budgets", [{"window": "day", "usd": 9_000_001}], "must be at most 9000000"),
        ("budgets", {"window": "day", "usd": 1}, "must be a list"),
        ("tenants[0].name", "", "is not a usable name"),
        ("tenants[0].keys[0].models", [], "must not be empty"),
        ("tenants[0].keys[0].secret", "plain", "must be a reference to a secret, not the secret itself"),
        ("tenants[0].limits.concurrent", 0, "must be at least 1"),
        ("tenants[0].limits.requests_per_minute", -5, "must be at least 1"),
        ("tenants[0].limits.tokens_per_minute", 10**9 + 1, "must be at most 1000000000"),
        ("tenants[0].on_over_budget", "warn", "must be one of `reject`, `clamp`, not `warn`"),
        ("tenants[0].on_store_failure", "open", "must be one of `closed`, `local_slice`, not `open`"),
        ("tenants[0].clamp_floor", 0, "must be at least 1"),
        ("tenants[0].allow_shadow", "no", "must be true or false"),
    ],
)
def test_what_is_out_of_bounds_is_refused(path: str, value: object, message: str) -> None:
    """At or below the setting."""
    (problem,) = problems({path: value})
    assert problem.path.startswith(path)
    assert problem.message == message
