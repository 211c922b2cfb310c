"""From configured budgets and limits to what holds for a request."""

from __future__ import annotations

import pytest

from app.metering import (
    Budget,
    Limit,
    Measure,
    OnFailure,
    OnOverBudget,
    Policy,
    Scope,
    ScopeKind,
    Unit,
    Window,
    key_scope,
)  # fmt: skip
from app.scopes import Scopes
from tests.support.configs import loaded

EVERYTHING = Budget(Scope(ScopeKind.EVERYTHING), Window.MONTH, Unit.MONEY, 2000 * 10**9)
MODEL = Budget(Scope(ScopeKind.MODEL, "chat"), Window.DAY, Unit.TOKENS, 50_000_000)
TENANT = Scope(ScopeKind.TENANT, "team")
DAY = Budget(TENANT, Window.DAY, Unit.TOKENS, 2_000_000)
MONTH = Budget(TENANT, Window.MONTH, Unit.MONEY, 300_123_456_000)
KEY = Budget(key_scope("team", "ci"), Window.DAY, Unit.MONEY, 10 * 10**9)


@pytest.fixture
def scopes() -> Scopes:
    """A budget in every scope, every limit, every policy."""
    changes = {
        "budgets": [{"window": "month", "usd": 2000}],
        "models[0].budgets": [{"window": "day", "tokens": 50_000_000}],
        "tenants[0].budgets": [{"window": "day", "tokens": 2_000_000}, {"window": "month", "usd": 300.123456}],
        "tenants[0].keys[0].budgets": [{"window": "day", "usd": 10}],
        "tenants[0].limits": {"requests_per_minute": 600, "tokens_per_minute": 100_000, "concurrent": 64},
        "tenants[0].on_over_budget": "clamp",
        "tenants[0].clamp_floor": 32,
        "tenants[0].on_store_failure": "local_slice",
    }
    return Scopes(loaded(changes))


def test_every_scope_of_a_request_is_held(scopes: Scopes) -> None:
    """Key, tenant, model and everything; money to the nano-dollar."""
    terms = scopes.of("team", "ci", "chat")
    assert set(terms.reserve.budgets) == {KEY, DAY, MONTH, EVERYTHING, MODEL}
    places, requests = Limit(TENANT, Measure.CONCURRENT, 64), Limit(TENANT, Measure.REQUESTS, 600)
    assert terms.reserve.limits == (places, requests, Limit(TENANT, Measure.TOKENS, 100_000))
    assert not terms.admit
    assert not terms.free
    assert terms.policy == Policy(OnOverBudget.CLAMP, 32, OnFailure.LOCAL_SLICE)


def test_terms_are_made_once(scopes: Scopes) -> None:
    """Stores know them by identity; but what a caller invented is not kept."""
    assert scopes.of("team", "ci", "chat") is scopes.of("team", "ci", "chat")
    assert scopes.of("default", "anonymous", "chat") is scopes.of("default", "anonymous", "chat")
    assert scopes.of("team", "ci", "invented") is not scopes.of("team", "ci", "invented")


def test_others_are_held_to_what_holds_for_everybody(scopes: Scopes) -> None:
    """A gateway without tenants, or a key that was removed."""
    assert set(scopes.of("default", "anonymous", "chat").reserve.budgets) == {EVERYTHING, MODEL}
    assert len(scopes.of("default", "anonymous", "chat").admit) == 0
    assert set(scopes.of("team", "removed", "chat").reserve.budgets) == {DAY, MONTH, EVERYTHING, MODEL}


def test_all_budgets_are_listed(scopes: Scopes) -> None:
    """For whoever rebuilds what was spent of them."""
    assert set(scopes.every.budgets) == {KEY, DAY, MONTH, EVERYTHING, MODEL}


def test_nothing_configured_holds_nothing() -> None:
    """The small configuration has no budgets."""
    terms = Scopes(loaded()).of("team", "ci", "chat")
    assert (len(terms.admit), len(terms.reserve), terms.policy) == (0, 0, Policy())
