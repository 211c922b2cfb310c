"""Windows, budgets, limits and costs."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.exchange import Usage
from app.metering import (
    FOREVER,
    LARGEST,
    Allowances,
    Budget,
    Charge,
    Limit,
    Measure,
    Prices,
    Scope,
    ScopeKind,
    Unit,
    Window,
    charge,
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


def test_allowances_are_budgets_then_limits_with_concurrency_first() -> None:
    """The order in which stores report what is left."""
    budget = Budget(TENANT, Window.DAY, Unit.TOKENS, 1)
    rate, places = Limit(TENANT, Measure.REQUESTS, 1), Limit(TENANT, Measure.CONCURRENT, 1)
    several = Allowances((budget,), (rate, places))
    assert [several[index] for index in range(len(several))] == [budget, places, rate]


def test_a_cost_is_rounded_up_once() -> None:
    """333 tokens at 0.001 USD per million are 333 000 pico-USD: 333 nano-USD; one pico more is one nano more."""
    assert Prices(input=1000).cost(Usage(333, 0)) == 333
    assert Prices(input=1000, request=1).cost(Usage(333, 0)) == 334
    assert Prices().cost(Usage(333, 5)) == 0


def test_every_kind_of_token_has_its_price() -> None:
    """Cached input and cache writes are parts of input, reasoning is a part of output: nothing is counted twice."""
    prices = Prices(
        10_000, 100_000, cached_input=1_000, cache_write=20_000, reasoning=200_000, image=7_000, request=5_000
    )
    usage = Usage(100, 50, cached_input_tokens=60, cache_write_tokens=10, reasoning_tokens=20)
    assert prices.cost(usage, images=2) == 30 * 10 + 60 * 1 + 10 * 20 + 30 * 100 + 20 * 200 + 2 * 7 + 5
    assert charge(usage, prices, 2) == Charge(150, prices.cost(usage, 2))


def test_absurd_parts_never_make_a_cost_negative() -> None:
    """More cached than input, more reasoning than output: the parts end where the whole does."""
    prices = Prices(10_000, 10_000, cached_input=1_000, cache_write=1_000)
    assert prices.cost(Usage(10, 5, cached_input_tokens=50, cache_write_tokens=50, reasoning_tokens=70)) == 10 + 50


tokens = st.integers(0, 10_000)
price = st.one_of(st.none(), st.integers(0, 10**9))


@given(tokens, tokens, tokens, tokens, tokens, price, price, price)
def test_no_usage_costs_more_than_its_bound(
    given_in: int,
    given_out: int,
    cached: int,
    written: int,
    thought: int,
    cached_price: int | None,
    write_price: int | None,
    reasoning_price: int | None,
) -> None:
    """Whatever kinds the tokens turn out to be."""
    prices = Prices(3_000_000, 15_000_000, cached_price, write_price, reasoning_price, request=17)
    usage = Usage(given_in, given_out, cached, written, thought)
    assert 0 <= prices.cost(usage) <= -(-prices.bound(given_in, given_out) // 1000)


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
