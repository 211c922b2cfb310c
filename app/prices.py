"""What tokens cost.

Prices are integer pico-USD per token, so that USD per million tokens (what price lists print) is exact to six decimals.
The cost of one request is summed in pico-USD and rounded **up** to the next nano-USD once, so a sum of costs never
undercounts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from app.exchange import Usage
from app.metering import Charge


@dataclass(frozen=True, slots=True)
class Prices:
    """Integer pico-USD per token, per image and per request. None where a kind costs what its whole costs.

    `dearest_input` and `dearest_output` are derived: what a token costs at most, of whatever kind it turns out to be.
    """

    input: int = 0
    output: int = 0
    cached_input: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    image: int = 0
    request: int = 0
    dearest_input: int = field(init=False, compare=False)
    dearest_output: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dearest_input", max(self.input, self.cached_input or 0, self.cache_write or 0))
        object.__setattr__(self, "dearest_output", max(self.output, self.reasoning or 0))

    def cost(self, usage: Usage, images: int = 0) -> int:
        """Nano-USD of one request. Cached input and cache writes are parts of input, reasoning of output."""
        if not (images or usage.cached_input_tokens or usage.cache_write_tokens or usage.reasoning_tokens):
            return -(-(self.request + usage.input_tokens * self.input + usage.output_tokens * self.output) // 1000)
        cached = min(usage.cached_input_tokens, usage.input_tokens)
        written = min(usage.cache_write_tokens, usage.input_tokens - cached)
        thought = min(usage.reasoning_tokens, usage.output_tokens)
        pico = (
            self.request
            + images * self.image
            + (usage.input_tokens - cached - written) * self.input
            + cached * _else(self.cached_input, self.input)
            + written * _else(self.cache_write, self.input)
            + (usage.output_tokens - thought) * self.output
            + thought * _else(self.reasoning, self.output)
        )
        return -(-pico // 1000)

    def bound(self, input_tokens: int, output_tokens: int, images: int = 0) -> int:
        """Pico-USD, not rounded, that so many tokens can cost at most."""
        fixed = self.request + images * self.image
        return fixed + input_tokens * self.dearest_input + output_tokens * self.dearest_output


def _else(price: int | None, whole: int) -> int:
    return whole if price is None else price


def charge(usage: Usage, prices: Prices, images: int = 0) -> Charge:
    """What a request with this usage takes from its budgets."""
    return Charge(usage.input_tokens + usage.output_tokens, prices.cost(usage, images))
