"""Ledger entries: read from a spool's records, repriced."""

from __future__ import annotations

import tracemalloc

import orjson
import pytest

from app.entry import METHODS, MOST, OUTCOMES, SHORT, Entry, decode, shared
from app.errors import Outcome
from app.exchange import Method
from app.metering import Charge
from app.prices import Prices
from tests.support.entries import ENTRY, encoded

NAMES_SHARED = (*("tenant", "key", "model", "deployment", "arm", "operation", "purpose", "count_method", "template"),)


def read(entry: Entry, bound: tuple[int, int] = (1000, 1000)) -> Entry:
    """Through a record and back."""
    return decode(entry.request_id, *encoded(entry, bound))


def test_what_is_written_is_read() -> None:
    """Every field; tokens and money are worked out anew."""
    assert read(ENTRY) == ENTRY
    told = ENTRY._replace(count_method="exact", template="helpful@3")
    assert read(told) == told
    assert ENTRY.charged == Charge(150, 8_600)


def test_what_an_older_version_wrote_is_read() -> None:
    """Its records do not know how prompts were counted, nor of templates."""
    numbers, names = encoded(ENTRY)
    old = {name: value for name, value in orjson.loads(names).items() if name not in ("count_method", "template")}
    assert decode(ENTRY.request_id, numbers, orjson.dumps(old)) == ENTRY


def test_what_is_shared_takes_what_it_is_long() -> None:
    """A ledger keeps tens of thousands of them: no room for what a serialiser may have reserved."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = [shared([f"{name}-{number}" for name in NAMES_SHARED], Prices()) for number in range(100)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < sum(map(len, kept)) * 1.5


def test_a_short_record_has_nothing_rare() -> None:
    """The common case in 37 bytes."""
    _, names = encoded(ENTRY)
    plain = ENTRY._replace(cached_input_tokens=0, charged_nano=100 * 50 + 50 * 80)
    assert decode("w1-7", SHORT.pack(1, 0, 1, plain.at, 1.5, 0.5, 1, 100, 50, 1000, 1000), names) == plain


def test_what_earlier_attempts_may_have_cost_is_added() -> None:
    """To tokens and money, whatever became of the last attempt."""
    retried = ENTRY._replace(earlier_tokens=7, earlier_nano=9)
    assert read(retried).charged == Charge(157, 8_609)
    unsent = retried._replace(method="nothing_sent", input_tokens=0, output_tokens=0, cached_input_tokens=0)
    assert read(unsent).charged == Charge(7, 9)


def test_what_lies_beyond_the_bound_is_told_apart() -> None:
    """Charged in full, and counted as overage too."""
    found = read(ENTRY, bound=(100, 40))
    assert found.charged == ENTRY.charged
    assert (found.overage_tokens, found.overage_nano) == (10, 8_600 - (100 * 50 + 40 * 80))


def test_a_bound_costs_what_the_dearest_kind_of_token_costs() -> None:
    """So it is never less than what the provider can bill."""
    found = read(ENTRY._replace(method="bound", cached_input_tokens=0, price_cache_write=70_000))
    assert found.charged == Charge(150, 100 * 70 + 50 * 80)
    assert found.overage_nano == 0


def test_a_row_holds_the_prices_that_its_prompt_was_charged() -> None:
    """Where long prompts have their own, and the bound's where nothing but a bound is known."""
    prices = Prices(50_000, 80_000, long=Prices(100_000, 120_000, 1_000), long_above=100)
    names = shared([getattr(ENTRY, name) for name in NAMES_SHARED], prices)

    def row(tokens: int, method: str) -> Entry:
        return decode("x", SHORT.pack(1, 0, METHODS.index(method), 1.0, 1.0, 0.5, 1, tokens, 10, 1000, 10), names)

    short, long, bound = row(100, "exact"), row(101, "exact"), row(1000, "bound")
    assert (short.charged_nano, short.price_input, short.price_cached_input) == (5_800, 50_000, None)
    assert (long.charged_nano, long.price_input, long.price_cached_input) == (101 * 100 + 1_200, 100_000, 1_000)
    assert (bound.charged_nano, bound.price_output) == (1000 * 100 + 1_200, 120_000)
    assert long.repriced(long.prices) == long.charged_nano


def test_an_absurd_number_is_kept_within_what_a_database_takes() -> None:
    """An upstream may report anything."""
    found = read(ENTRY._replace(output_tokens=MOST), bound=(10, 10))
    assert found.charged_tokens == found.charged_nano == MOST


def test_every_outcome_and_method_has_its_place() -> None:
    """Those places are on disks: lists grow at their ends only."""
    assert set(OUTCOMES) == set(Outcome)
    assert set(METHODS) == set(Method)
    assert OUTCOMES[:2] == ("ok", "client_closed")
    assert OUTCOMES[12] == "internal_error"
    assert METHODS == ("nothing_sent", "exact", "at_least", "bound")


@pytest.mark.parametrize("numbers", [b"", b"\x01", b"\x03" + bytes(100), b"\x01\xff" + bytes(36)])
def test_what_is_no_record_is_refused(numbers: bytes) -> None:
    """Damage does not become a row."""
    with pytest.raises(ValueError, match="no ledger record"):
        decode("x", numbers, encoded(ENTRY)[1])


@pytest.mark.parametrize("names", [b"", b"[]", b"{}", b'{"tenant": "x"}'])
def test_a_record_whose_names_are_lost_is_refused(names: bytes) -> None:
    """Nobody could be billed for it."""
    with pytest.raises(ValueError, match=r"."):
        decode("x", encoded(ENTRY)[0], names)


def test_money_is_derived_from_tokens_and_prices() -> None:
    """So a price correction can reprice what was counted, and leaves alone what only has a bound."""
    assert ENTRY.repriced(ENTRY.prices) == 90 * 50 + 10 * 10 + 50 * 80
    assert ENTRY.repriced(Prices(1_000, 1_000)) == 150
    assert ENTRY._replace(earlier_nano=7).repriced(Prices(1_000, 1_000)) == 157
    assert ENTRY._replace(method="bound").repriced(Prices(1_000, 1_000)) == 8_600
