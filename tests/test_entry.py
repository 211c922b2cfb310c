"""Ledger entries: written, read, repriced."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from app.entry import NAMES, Entry, decode, encode, row
from app.metering import Charge, Prices

ENTRY = Entry(
    id="w1-7",
    at=1_800_000_000.25,
    tenant="search-team",
    key="ci",
    model="chat",
    deployment="llama-v1",
    arm="stable",
    operation="chat",
    purpose="request",
    outcome="ok",
    method="exact",
    charged_tokens=150,
    charged_nano=12_345,
    input_tokens=100,
    output_tokens=50,
    cached_input_tokens=10,
    price_input=50_000,
    price_output=80_000,
    price_cached_input=10_000,
    first_token_seconds=0.5,
)


def test_what_is_written_is_read() -> None:
    """Every field."""
    assert decode(encode(ENTRY)) == ENTRY
    assert tuple(row(ENTRY)) == NAMES
    assert ENTRY.charged == Charge(150, 12_345)


def test_another_versions_entry_is_read() -> None:
    """Fields that this version does not know are left out; those that it has since then keep their default."""
    found = orjson.loads(encode(ENTRY))
    found["later"] = 1
    del found["template"], found["images"]
    assert decode(orjson.dumps(found)) == ENTRY


@pytest.mark.parametrize("data", [b"", b"[]", b"7", b"{}", b'{"id": "x"}'])
def test_what_is_no_entry_is_refused(data: bytes) -> None:
    """Damage does not become a row."""
    with pytest.raises(ValueError, match=r"."):
        decode(data)


def test_money_is_derived_from_tokens_and_prices() -> None:
    """So a price correction can reprice what was counted, and leaves alone what only has a bound."""
    assert ENTRY.repriced(ENTRY.prices) == 90 * 50 + 10 * 10 + 50 * 80
    assert ENTRY.repriced(Prices(1_000, 1_000)) == 150
    assert replace(ENTRY, earlier_nano=7).repriced(Prices(1_000, 1_000)) == 157
    assert replace(ENTRY, method="bound").repriced(Prices(1_000, 1_000)) == 12_345
