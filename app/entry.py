"""One row of the ledger: what one request cost, and everything that its money is derived from. No text of anybody.

The same shape is written twice: when the request is about to be sent, at its bound, and when it ended, as it was.
Whoever finds only the first one knows what the request may have cost, and charges that.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple

import orjson

from app.exchange import JsonObject, Method, Usage
from app.metering import NOTHING, Charge
from app.prices import Prices, charge


class Entry(NamedTuple):
    """Times are seconds since 1970, durations seconds, money nano-USD, prices pico-USD.

    `charged_tokens` and `charged_nano` are what the budgets were charged: of this attempt, and `earlier_*`
    of the attempts before it that may have been billed. `overage_*` is the part of it beyond the bound. In the order of
    the ledger's columns (a test holds it): an entry is a row as it stands.
    """

    request_id: str
    at: float
    tenant: str
    key: str
    model: str
    deployment: str
    arm: str
    operation: str
    purpose: str
    outcome: str
    method: str
    charged_tokens: int
    charged_nano: int
    earlier_tokens: int = 0
    earlier_nano: int = 0
    overage_tokens: int = 0
    overage_nano: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    images: int = 0
    price_input: int = 0
    price_output: int = 0
    price_cached_input: int | None = None
    price_cache_write: int | None = None
    price_reasoning: int | None = None
    price_image: int = 0
    price_request: int = 0
    attempts: int = 1
    first_token_seconds: float | None = None
    seconds: float | None = None
    template: str | None = None
    count_method: str | None = None

    @property
    def usage(self) -> Usage:
        """The tokens of the last attempt."""
        return Usage(
            self.input_tokens,
            self.output_tokens,
            self.cached_input_tokens,
            self.cache_write_tokens,
            self.reasoning_tokens,
        )

    @property
    def prices(self) -> Prices:
        """The prices that were in force; where long prompts have their own, those of this prompt."""
        return Prices(
            self.price_input,
            self.price_output,
            self.price_cached_input,
            self.price_cache_write,
            self.price_reasoning,
            self.price_image,
            self.price_request,
        )

    @property
    def charged(self) -> Charge:
        """What the budgets were charged."""
        return Charge(self.charged_tokens, self.charged_nano)

    def repriced(self, prices: Prices) -> int:
        """Nano-USD that the request costs at other prices. What was charged at a bound keeps it: no usage is known."""
        if self.method == "bound":
            return self.charged_nano
        return self.earlier_nano + prices.cost(self.usage, self.images)


SHORT = struct.Struct("<BBBdffHIIII")
LONG = struct.Struct("<BBBdffH10q")
"""A record in the spool, little-endian: version (1 short, 2 long), outcome and method (places in OUTCOMES and METHODS),
`at`, `seconds`, `first_token_seconds` (below zero: none), attempts; input and output tokens, and the bounds of both.
The long one goes on: cached input, cache write and reasoning tokens, images, and what earlier attempts may have cost
in tokens and nano-USD. Names and prices stand apart (`shared`), money nowhere: it follows from the rest.
"""
MOST = 2**53
"""The largest number that is kept; one beyond it is absurd, and kept as this."""
OUTCOMES = (
    "ok", "client_closed", "refused_auth", "refused_invalid", "refused_limit", "refused_budget", "refused_guard",
    "cut_guard", "upstream_rejected", "upstream_error", "upstream_timeout", "overloaded", "internal_error",
)  # fmt: skip
METHODS = ("nothing_sent", "exact", "at_least", "bound")
"""Both grow at their ends only: spools outlive the version that wrote them."""

_NAMES = ("tenant", "key", "model", "deployment", "arm", "operation", "purpose", "count_method", "template")
_PRICES = ("input", "output", "cached_input", "cache_write", "reasoning", "image", "request")
_LONG = "long_prompt"


def shared(names: Sequence[str | None], prices: Prices) -> bytes:
    """What many requests share: `names` in the order of `_NAMES`, the last two None where unknown, and prices."""
    document: JsonObject = dict(zip(_NAMES, names, strict=True))
    document |= _columns(prices)
    if prices.long is not None:
        document[_LONG] = {"above": prices.long_above, **_columns(prices.long)}
    return bytes(memoryview(orjson.dumps(document)))  # a copy: orjson's own takes 8 KiB, whatever its length


def _columns(prices: Prices) -> JsonObject:
    return {f"price_{name}": getattr(prices, name) for name in _PRICES}


def decode(name: str, numbers: bytes, common: bytes) -> Entry:
    """The record of the request `name`. Raises ValueError where it is none, or of a version that is not known."""
    try:
        form = _FORMS[numbers[0]]
        _, outcome, method, at, seconds, first, attempts, made, out, bound_in, bound_out, *rare = form.unpack(numbers)
        cached, written, thought, images, tokens, nano = rare or _NONE_RARE
        who, (count_method, template), prices = _read_shared(common)
        usage = Usage(made, out, cached, written, thought, _KINDS[method])
        spent, over = _money(usage, images, (bound_in, bound_out), prices)
        row = (
            name, at, *who, OUTCOMES[outcome], METHODS[method],
            min(spent.tokens + tokens, MOST), min(spent.nano_usd + nano, MOST), tokens, nano,
            min(over.tokens, MOST), min(over.nano_usd, MOST),
            made, out, cached, written, thought, images,
            *_told(prices.at(made)), attempts, first if first >= 0 else None, seconds, template, count_method,
        )  # fmt: skip
        return tuple.__new__(Entry, row)  # a third of what naming the fields takes
    except (struct.error, TypeError, KeyError, IndexError) as error:
        raise ValueError(f"no ledger record: {error!r}") from error


_NONE_RARE = (0,) * 6
_FORMS = {1: SHORT, 2: LONG}
_KINDS = tuple(map(Method, METHODS))
_NOTHING_SENT, _BOUND = Method.NOTHING_SENT, Method.BOUND


@lru_cache(maxsize=16_384)  # about as many as a segment of the spool has room for
def _read_shared(common: bytes) -> tuple[tuple[str, ...], tuple[str | None, ...], Prices]:
    """Names, those that may be unknown, and prices as `shared` wrote them; an older one wrote fewer."""
    document = orjson.loads(common)
    prices, long = _prices(document), document.get(_LONG)
    if long is not None:
        prices = replace(prices, long=_prices(long), long_above=long["above"])
    return tuple(document[name] for name in _NAMES[:7]), tuple(map(document.get, _NAMES[7:])), prices


def _prices(columns: JsonObject) -> Prices:
    return Prices(*[columns[f"price_{kind}"] for kind in _PRICES])


_told = attrgetter(*_PRICES)  # prices as they stand in an entry


def _money(usage: Usage, images: int, bound: tuple[int, int], prices: Prices) -> tuple[Charge, Charge]:
    """What is charged, and how much of it lies beyond the bound."""
    spent = charge(usage, prices, images)
    method = usage.method
    if method is _NOTHING_SENT or not spent.tokens:
        return NOTHING, NOTHING
    if method is _BOUND:
        most = prices.bound(usage.input_tokens, usage.output_tokens, images)
        return Charge(spent.tokens, -(-most // 1000)), NOTHING
    over_tokens, over_nano = spent.tokens - sum(bound), spent.nano_usd + (-prices.bound(*bound, images) // 1000)
    if over_tokens <= 0 and over_nano <= 0:
        return spent, NOTHING
    return spent, Charge(max(0, over_tokens), max(0, over_nano))


NAMES = Entry._fields
"""The columns, in order."""
