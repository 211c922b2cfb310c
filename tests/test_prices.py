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


LONG = Prices(3_000, 9_000, cached_input=300)
TIERED = Prices(1_000, 6_000, cached_input=100, long=LONG, long_above=100)


def test_a_long_prompt_has_its_own_prices() -> None:
    """All of its tokens, those of the answer too, from the first token beyond the step on."""
    assert TIERED.cost(Usage(100, 10)) == 100 + 60
    assert TIERED.cost(Usage(101, 10)) == 303 + 90
    assert TIERED.cost(Usage(101, 10, cached_input_tokens=100)) == -(-(3_000 + 30_000 + 90_000) // 1000)
    assert (TIERED.at(100), TIERED.at(101)) == (TIERED, LONG)


def test_a_bound_knows_that_the_prompt_may_be_a_short_one() -> None:
    """Beyond the step both prices are possible: the dearer counts, kind by kind."""
    odd = Prices(1_000, 9_000, long=Prices(3_000, 2_000), long_above=100)
    assert odd.bound(100, 10) == 100 * 1_000 + 10 * 9_000
    assert odd.bound(101, 10) == 101 * 3_000 + 10 * 9_000


def test_prices_as_price_lists_print_them() -> None:
    """US dollars per million tokens; what is not set is not there."""
    assert Prices(150_000, 600_000, 75_000).listed() == {"input": 0.15, "output": 0.6, "cached_input": 0.075}
    assert Prices(1, 0, image=2 * 10**9).listed() == {"input": 0.000001, "output": 0.0, "image": 0.002}
    assert TIERED.listed()["long_prompt"] == {"above": 100, "input": 0.003, "output": 0.009, "cached_input": 0.0003}


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
    """Whatever kinds the tokens turn out to be, and whether the prompt is a long one or not."""
    long = Prices(write_price or 0, reasoning_price or 0, cached_price, request=17)
    prices = Prices(3_000_000, 15_000_000, cached_price, write_price, reasoning_price, 0, 17, long, long_above=5_000)
    usage = Usage(given_in, given_out, cached, written, thought)
    assert 0 <= prices.cost(usage) <= -(-prices.bound(given_in, given_out) // 1000)
    assert prices.cost(usage) <= -(-prices.bound(given_in + cached, given_out) // 1000)
