"""Windows, budgets, limits and costs."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.metering import (
    FOREVER,
    LARGEST,
    Allowances,
    Budget,
    Charge,
    Limit,
    Measure,
    Scope,
    ScopeKind,
    Unit,
    Window,
    key_scope,
    refused,
)

TENANT = Scope(ScopeKind.TENANT, "search-team")
NOON = datetime(2026, 2, 28, 12, 34, 56, tzinfo=UTC).timestamp()


def at(*when: int) -> int:
    """Seconds since 1970 of a UTC date and time."""
    return int(datetime(*when, tzinfo=UTC).timestamp())  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("window", "span"),
    [
        (Window.MINUTE, (at(2026, 2, 28, 12, 34), at(2026, 2, 28, 12, 35))),
        (Window.HOUR, (at(2026, 2, 28, 12), at(2026, 2, 28, 13))),
        (Window.DAY, (at(2026, 2, 28), at(2026, 3, 1))),
        (Window.MONTH, (at(2026, 2, 1), at(2026, 3, 1))),
        (Window.TOTAL, (0, FOREVER)),
    ],
)
def test_a_window_is_a_utc_calendar_unit(window: Window, span: tuple[int, int]) -> None:
    """Its first second and the first second after it."""
    assert window.span(NOON) == span


@given(st.sampled_from(Window), st.floats(0, 4_000_000_000))
def test_windows_tile_the_time(window: Window, now: float) -> None:
    """Every moment lies in exactly one window, and the next one begins where it ends."""
    start, end = window.span(now)
    assert start <= now < end
    assert window.span(start) == (start, end)
    if window is not Window.TOTAL:
        assert window.span(end)[0] == end


@pytest.mark.parametrize("limit", [-1, LARGEST + 1])
def test_limits_outside_the_exact_range_are_refused(limit: int) -> None:
    """Negative limits, and those that Redis could not count exactly."""
    with pytest.raises(ValueError, match="a limit is between"):
        Budget(TENANT, Window.DAY, Unit.TOKENS, limit)
    with pytest.raises(ValueError, match="a limit is between"):
        Limit(TENANT, Measure.REQUESTS, limit)


def test_no_two_scopes_share_a_counter() -> None:
    """Whatever tenants and keys are called."""
    names = ["a", "a:b", "day:tokens:a", "", ":"]
    scopes = [Scope(kind, name) for kind in ScopeKind for name in names]
    budgets = [Budget(scope, window, unit, 1) for scope in scopes for window in Window for unit in Unit]
    limits = [Limit(scope, measure, 1) for scope in scopes for measure in Measure]
    counters = {one.name for one in budgets} | {one.name for one in limits}
    assert len(counters) == len(budgets) + len(limits)


def test_keys_of_two_tenants_never_share_a_scope() -> None:
    """Names may hold slashes, and no spaces."""
    assert key_scope("a/b", "c") != key_scope("a", "b/c")


def test_allowances_are_budgets_then_limits_with_concurrency_first() -> None:
    """The order in which stores report what is left."""
    budget = Budget(TENANT, Window.DAY, Unit.TOKENS, 1)
    rate, places = Limit(TENANT, Measure.REQUESTS, 1), Limit(TENANT, Measure.CONCURRENT, 1)
    several = Allowances((budget,), (rate, places))
    assert [several[index] for index in range(len(several))] == [budget, places, rate]


def test_a_refusal_names_what_is_longest_in_the_way() -> None:
    """The day's budget holds longer than the minute's; a claim larger than a limit never fits."""
    minute = Budget(TENANT, Window.MINUTE, Unit.TOKENS, 10)
    day = Budget(TENANT, Window.DAY, Unit.MONEY, 10)
    rate = Limit(TENANT, Measure.TOKENS, 60)
    several = Allowances((minute, day), (rate,))
    both = refused(several, Charge(5, 5), (4, 4, 60), NOON)
    assert (both.refused, both.retry_after) == (1, at(2026, 3, 1) - NOON)
    assert refused(several, Charge(5, 5), (4, 5, 60), NOON).retry_after == 4
    assert refused(several, Charge(5, 5), (5, 5, 2), NOON).retry_after == 3
    assert refused(several, Charge(11, 5), (10, 5, 60), NOON).retry_after is None
