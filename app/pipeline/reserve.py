"""Reserve: take the upper bound of what a request can cost from every budget in scope, before an upstream sees it.

A `Reservation` is entered before the call and settles itself when it is left, however it is left: there is no
`await` on the way out, so a cancellation cannot come between. What it settles at depends on what is known then:

- nothing sent: no byte reached an upstream. All of it goes back.
- exact: the provider reported usage. The rest goes back; what lies beyond the bound is counted apart as overage.
- at least: the answer was cut. What was counted plus the deployment's `cancel_allowance`, never above the bound.
- bound: sent, and nothing is known. All of it is spent.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Protocol, Self

from app.errors import BUDGET_EXCEEDED, OVERLOADED, RATE_LIMIT_EXCEEDED, GatewayError
from app.exchange import Method
from app.metering import (
    NOTHING,
    Allowances,
    Budget,
    Charge,
    Claim,
    Level,
    Limit,
    OnFailure,
    OnOverBudget,
    Policy,
    Unit,
    Verdict,
)  # fmt: skip
from app.prices import Prices


class StoreUnavailable(Exception):
    """The store did not answer within its bound, or is closed until its state is rebuilt."""


class Store(Protocol):
    """Where budgets and limits are counted."""

    async def reserve(self, claim: Claim) -> Verdict:
        """Take the claim from all its allowances or from none.

        Raises StoreUnavailable. After that, or after a cancellation, a new claim is given back by the store itself;
        one that raises an existing reservation leaves that to its holder, who settles it anyway.
        """
        ...

    def settle(self, claim_id: str, charge: Charge) -> None:
        """End a reservation: what is beyond `charge` goes back. Never fails, never waits; unknown ids are ignored."""
        ...

    async def levels(self, allowances: Allowances) -> list[Level]:
        """How full the budgets are. Raises StoreUnavailable."""
        ...


REJECT = Policy()

_NOTHING_SENT, _EXACT, _BOUND = (
    Method.NOTHING_SENT,
    Method.EXACT,
    Method.BOUND,
)  # an enum's attribute takes 0.1 µs each time


@dataclass(slots=True)
class Bound:
    """What one upstream attempt can cost at most.

    `prompt_tokens` is exact or an upper bound, `output_cap` is per choice: the request's own maximum, else the
    deployment's. `prices` holds every deployment of the plan: the dearest one counts.
    """

    prompt_tokens: int
    output_cap: int
    choices: int
    prices: tuple[Prices, ...]
    images: int = 0

    def charge(self) -> Charge:
        """Tokens and nano-USD: prompt + output cap × choices, at the dearest price."""
        prompt, out, images, pico = self.prompt_tokens, self.output_cap * self.choices, self.images, 0
        for price in self.prices:
            cost = price.request + images * price.image + prompt * price.dearest_input + out * price.dearest_output
            if cost > pico:  # noqa: PLR1730 # max() takes 0.15 µs
                pico = cost
        return Charge(prompt + out, -(-pico // 1000))

    def fitted(self, allowances: Allowances, left: tuple[int, ...]) -> int:
        """The largest output cap whose charge fits into what is left of each allowance; below zero where none does."""
        caps = [self._cap_within(allowances[index], rest) for index, rest in enumerate(left)]
        return min([self.output_cap, *caps])

    def _cap_within(self, allowance: Budget | Limit, rest: int) -> int:
        if isinstance(allowance, Limit) or allowance.unit is Unit.TOKENS:
            return (rest - self.prompt_tokens) // self.choices
        return min((self._cap_for_money(price, rest) for price in self.prices), default=self.output_cap)

    def _cap_for_money(self, price: Prices, rest: int) -> int:
        spare = rest * 1000 - price.bound(self.prompt_tokens, 0, self.images)
        per_token = price.dearest_output * self.choices
        return spare // per_token if per_token else (self.output_cap if spare >= 0 else -1)


class Reservation:
    """The upper bound of one request, held while it is served. Enter it before the first upstream call.

    Entering raises GatewayError: `budget_exceeded` or `rate_limit_exceeded` where it does not fit, `overloaded`
    where the store does not answer. `bound.output_cap` is the cap to send upstream: lower than asked where the
    tenant's policy clamps (`clamped` is then true). `left` is what remains of the limits.
    """

    __slots__ = (
        "_allowances", "_bound", "_clock", "_earlier", "_id", "_now", "_policy", "_send_by", "_store",
        "bound", "clamped", "left", "method",
    )  # fmt: skip

    def __init__(
        self,
        store: Store,
        claim_id: str,
        allowances: Allowances,
        bound: Bound,
        policy: Policy = REJECT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.bound = bound
        self.clamped = False
        self.left: tuple[int, ...] = ()
        self.method = _NOTHING_SENT
        self._store = store
        self._id = claim_id
        self._allowances = allowances
        self._policy = policy
        self._clock = clock
        self._bound = bound.charge()
        self._earlier = NOTHING  # what earlier attempts may have been billed
        self._now = NOTHING  # the same of the current attempt
        self._send_by = 0.0

    async def __aenter__(self) -> Self:
        tries = 1
        try:
            verdict = await self._store.reserve(self._claim(self._bound))
            while verdict.refused is not None and tries < _TRIES and self._clamp(verdict):
                verdict = await self._store.reserve(self._claim(self._bound))
                tries += 1
        except StoreUnavailable as error:
            raise _unavailable() from error
        self._granted(verdict)
        self.left = verdict.left
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store.settle(self._id, self.charge())

    def charge(self) -> Charge:
        """What the request is settled at, as far as is known now."""
        return self._now if self._earlier is NOTHING else self._earlier.plus(self._now)

    def sending(self) -> None:
        """Say that an upstream may see the request from now on.

        Raises GatewayError where it waited too long for that. Have it open in the spool before: whoever rebuilds the
        store's state afterwards must find it there.
        """
        if self._clock() >= self._send_by:
            raise GatewayError(
                OVERLOADED, "The request waited too long between its reservation and its call.", retry_after=1
            )
        self.method = _BOUND
        self._now = self._bound

    def exact(self, spent: Charge) -> None:
        """Settle at what the provider reported."""
        self.method = _EXACT
        self._now = spent

    def at_least(self, counted: Charge) -> None:
        """Settle at what was counted, allowance included, but never above the bound."""
        self.method = Method.AT_LEAST
        self._now = counted.within(self._bound)

    async def again(self) -> None:
        """Make room for another attempt.

        Raises GatewayError where the earlier ones may have been billed and both do not fit.
        """
        if self.method is _NOTHING_SENT:
            return
        spent = self.charge()
        try:
            self._granted(await self._store.reserve(self._claim(spent.plus(self._bound))))
        except StoreUnavailable as error:
            raise _unavailable() from error
        self._earlier, self._now, self.method = spent, NOTHING, _NOTHING_SENT

    def _claim(self, amount: Charge) -> Claim:
        return Claim(self._id, self._allowances, amount, self._policy.on_store_failure, sent=True)

    def _granted(self, verdict: Verdict) -> None:
        if verdict.refused is not None:
            raise refusal(self._allowances[verdict.refused], verdict, self._bound)
        self._send_by = verdict.send_by

    def _clamp(self, verdict: Verdict) -> bool:
        """Lower the output cap to what is left. False where the policy does not want it or too little is left."""
        if self._policy.on_over_budget is OnOverBudget.REJECT:
            return False
        cap = self.bound.fitted(self._allowances, verdict.left)
        if cap < max(1, self._policy.clamp_floor) or cap >= self.bound.output_cap:
            return False
        self.bound = replace(self.bound, output_cap=cap)
        self._bound = self.bound.charge()
        self.clamped = True
        return True


_TRIES = 4
"""Others may take what was left between two tries to clamp; after so many the request is refused."""


class Ticket:
    """One place in a tenant's rate and concurrency limits, held while the request is served.

    Entering raises GatewayError: `rate_limit_exceeded`, or `overloaded` where the store does not answer. `left` is
    what remains of each limit, for the `x-ratelimit-*` headers. A request that a limit let in has used its place in
    the rate, whatever becomes of it.
    """

    __slots__ = ("_claim", "_store", "left")

    def __init__(
        self, store: Store, claim_id: str, allowances: Allowances, on_failure: OnFailure = OnFailure.CLOSED
    ) -> None:
        self.left: tuple[int, ...] = ()
        self._store = store
        self._claim = Claim(claim_id, allowances, NOTHING, on_failure)

    async def __aenter__(self) -> Self:
        try:
            verdict = await self._store.reserve(self._claim)
        except StoreUnavailable as error:
            raise _unavailable() from error
        if verdict.refused is not None:
            raise refusal(self._claim.allowances[verdict.refused], verdict, NOTHING)
        self.left = verdict.left
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store.settle(self._claim.id, NOTHING)


def _unavailable() -> GatewayError:
    return GatewayError(OVERLOADED, "Budgets and limits cannot be checked at the moment.", retry_after=1)


def refusal(allowance: Budget | Limit, verdict: Verdict, asked: Charge) -> GatewayError:
    """The answer to a caller whose claim does not fit."""
    scope = allowance.scope
    owner = f"{scope.kind} {scope.name!r}" if scope.name else "all requests together"
    left = verdict.left[verdict.refused or 0]
    if isinstance(allowance, Limit):
        text = f"The limit of {allowance.limit} {_LIMIT_TEXT[allowance.measure]} for {owner} is reached."
        return GatewayError(RATE_LIMIT_EXCEEDED, text, retry_after=verdict.retry_after)
    if allowance.unit is Unit.TOKENS:
        text = f"This request may take {asked.tokens} tokens; {max(0, left)} of {allowance.limit} are left"
    else:
        rest = f"{_usd(max(0, left))} of {_usd(allowance.limit)} are left"
        text = f"This request may cost {_usd(asked.nano_usd)} USD; {rest}"
    text += f" in the budget of {owner} (window: {allowance.window})."
    return GatewayError(BUDGET_EXCEEDED, text, retry_after=verdict.retry_after)


_LIMIT_TEXT = {
    "requests": "requests per minute",
    "tokens": "tokens per minute",
    "concurrent": "requests at the same time",
}


def _usd(nano: int) -> str:
    return f"{nano / 1e9:.9f}".rstrip("0").rstrip(".")
