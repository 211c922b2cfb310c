"""Costs and bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.exchange import Usage
from app.metering import Charge
from app.prices import Prices, charge


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
