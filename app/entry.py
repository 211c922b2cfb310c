"""One row of the ledger: what one request cost, and everything that its money is derived from. No text of anybody.

The same shape is written twice: when the request is about to be sent, at its bound, and when it ended, as it was. Whoever
finds only the first one knows what the request may have cost, and charges that.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import orjson

from app.exchange import Usage
from app.metering import Charge, Prices


@dataclass(frozen=True, slots=True)
class Entry:
    """`id` is the reservation's. Times are seconds since 1970, durations seconds, money nano-USD, prices pico-USD.

    `charged_tokens` and `charged_nano` are what the budgets were charged: of this attempt, and `earlier_*`
    of the attempts before it that may have been billed. `overage_*` is the part of it beyond the bound.
    """

    id: str
    at: float
    tenant: str
    key: str
    model: str
    deployment: str
    arm: str
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
        """The prices that were in force."""
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


NAMES = tuple(field.name for field in fields(Entry))
"""The columns, in order."""


def encode(entry: Entry) -> bytes:
    """As JSON."""
    return orjson.dumps(entry)


def decode(data: bytes) -> Entry:
    """From JSON; names that this version does not know are left out. Raises ValueError."""
    found = orjson.loads(data)
    try:
        return Entry(**{name: found[name] for name in NAMES if name in found})
    except (TypeError, AttributeError) as error:
        raise ValueError(f"no ledger entry: {error}") from error


def row(entry: Entry) -> dict[str, Any]:
    """As the values of a database row."""
    return asdict(entry)
