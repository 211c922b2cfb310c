"""What tokens cost.

Prices are integer pico-USD per token, so that USD per million tokens (what price lists print) is exact to six decimals.
The cost of one request is summed in pico-USD and rounded **up** to the next nano-USD once, so a sum of costs never
undercounts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from app.exchange import JsonObject, Usage
from app.metering import Charge

NEVER = 2**62
"""More tokens than any prompt has."""
_PICO_USD_PER_MILLION = 10**6
_PICO_USD = 10**12


@dataclass(frozen=True, slots=True)
class Prices:
    """Integer pico-USD per token, per image and per request. None where a kind costs what its whole costs.

    `long` holds what a request costs whose prompt has more than `long_above` tokens, all of it: some providers ask more
    for those. `dearest_input` and `dearest_output` are derived: what a token costs at most, of whatever kind it turns
    out to be; `dearest_long_input` and `dearest_long_output` are the same where the prompt may be a long one.
    """

    input: int = 0
    output: int = 0
    cached_input: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    image: int = 0
    request: int = 0
    long: Prices | None = None
    long_above: int = NEVER
    dearest_input: int = field(init=False, compare=False)
    dearest_output: int = field(init=False, compare=False)
    dearest_long_input: int = field(init=False, compare=False)
    dearest_long_output: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        dear_in = max(self.input, self.cached_input or 0, self.cache_write or 0)
        dear_out = max(self.output, self.reasoning or 0)
        long = self.long
        derived = {
            "dearest_input": dear_in,
            "dearest_output": dear_out,
            "dearest_long_input": dear_in if long is None else max(dear_in, long.dearest_input),
            "dearest_long_output": dear_out if long is None else max(dear_out, long.dearest_output),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def at(self, input_tokens: int) -> Prices:
        """The prices of a request whose prompt has so many tokens."""
        return self if self.long is None or input_tokens <= self.long_above else self.long

    def cost(self, usage: Usage, images: int = 0) -> int:
        """Nano-USD of one request. Cached input and cache writes are parts of input, reasoning of output."""
        if usage.input_tokens > self.long_above and self.long is not None:
            return self.long.cost(usage, images)
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
        if input_tokens > self.long_above:  # the prompt may turn out shorter: both rates are possible
            return fixed + input_tokens * self.dearest_long_input + output_tokens * self.dearest_long_output
        return fixed + input_tokens * self.dearest_input + output_tokens * self.dearest_output

    def listed(self) -> JsonObject:
        """As price lists print them: US dollars per million tokens, per image, per request; without what is not set."""
        kinds = ("input", "output", "cached_input", "cache_write", "reasoning")
        found: JsonObject = {
            kind: price / _PICO_USD_PER_MILLION for kind in kinds if (price := getattr(self, kind)) is not None
        }
        found |= {name: price / _PICO_USD for name in ("image", "request") if (price := getattr(self, name))}
        if self.long is not None:
            found["long_prompt"] = {"above": self.long_above, **self.long.listed()}
        return found


def _else(price: int | None, whole: int) -> int:
    return whole if price is None else price


def charge(usage: Usage, prices: Prices, images: int = 0) -> Charge:
    """What a request with this usage takes from its budgets."""
    return Charge(usage.input_tokens + usage.output_tokens, prices.cost(usage, images))
