"""A reservation: what a request can cost at most, taken from every budget in scope before an upstream sees it.

A `Reservation` is taken and entered in one statement before the call (`with await reservation.take():`), and settles
itself when it is left, however it is left: there is no `await` on the way out, so a cancellation cannot come between.
It settles at what it was told was spent, and at its bound where nobody said anything after it was sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Protocol, Self

from app.errors import BUDGET_EXCEEDED, OVERLOADED, RATE_LIMIT_EXCEEDED, GatewayError
from app.metering import (
    NOTHING,
    Allowances,
    Budget,
    Charge,
    Claim,
    Limit,
    OnFailure,
    OnOverBudget,
    Policy,
    Unit,
    Verdict,
)  # fmt: skip
from app.pipeline.progress import Progress
from app.prices import Prices


class StoreUnavailable(Exception):
    """The store did not answer within its bound, or is closed until its state is rebuilt."""


class Store(Protocol):
    """Where budgets and limits are counted."""

    def at_once(self, claim: Claim) -> Verdict | None:
        """As `reserve`, where nobody has to be asked; None where somebody has, and nothing has happened."""
        ...

    async def reserve(self, claim: Claim) -> Verdict:
        """Take the claim from all its allowances or from none.

        Raises StoreUnavailable. After that, or after a cancellation, a new claim is given back by the store itself;
        one that raises an existing reservation leaves that to its holder, who settles it anyway.
        """
        ...

    def settle(self, claim_id: str, charge: Charge) -> None:
        """End a reservation: what is beyond `charge` goes back. Never fails, never waits; unknown ids are ignored."""
        ...


REJECT = Policy()


@dataclass(slots=True, init=False)
class Bound:
    """What one upstream attempt can cost at most.

    `prompt_tokens` is exact or an upper bound, `output_cap` is per choice: the request's own maximum, else the
    deployment's. `prices` holds every deployment of the plan: the dearest one counts.
    """

    prompt_tokens: int
    output_cap: int
    choices: int
    prices: tuple[Prices, ...]
    images: int

    def __init__(
        self, prompt_tokens: int, output_cap: int, choices: int, prices: tuple[Prices, ...], images: int = 0
    ) -> None:
        self.prompt_tokens = prompt_tokens
        self.output_cap = output_cap
        self.choices = choices
        self.prices = prices
        self.images = images

    def charge(self) -> Charge:
        """Tokens and nano-USD: prompt + output cap × choices, at the dearest price."""
        prompt, out, images, pico = self.prompt_tokens, self.output_cap * self.choices, self.images, 0
        for price in self.prices:
            cost = price.request + images * price.image
            if prompt > price.long_above:
                cost += prompt * price.dearest_long_input + out * price.dearest_long_output
            else:
                cost += prompt * price.dearest_input + out * price.dearest_output
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
        long = self.prompt_tokens > price.long_above
        per_token = (price.dearest_long_output if long else price.dearest_output) * self.choices
        return spare // per_token if per_token else (self.output_cap if spare >= 0 else -1)


class Reservation:
    """The upper bound of one request, held while it is served. Take and enter it before the first upstream call.

    Taking it raises GatewayError: `budget_exceeded` or `rate_limit_exceeded` where it does not fit, `overloaded`
    where the store does not answer. `bound.output_cap` is the cap to send upstream: lower than asked where the
    tenant's policy clamps (`clamped` is then true). `left` is what remains of the limits.
    """

    __slots__ = (
        "_allowances", "_bound", "_clock", "_earlier", "_id", "_policy", "_send_by", "_sent", "_spent", "_store",
        "bound", "clamped", "left",
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
        self._store = store
        self._id = claim_id
        self._allowances = allowances
        self._policy = policy
        self._clock = clock
        self._bound = bound.charge()
        self._earlier = NOTHING  # what earlier attempts may have been billed
        self._sent = False
        self._spent: Charge | None = None
        self._send_by = 0.0

    def at_once(self) -> bool:
        """Whether it was taken without asking anybody; else `take` it. Raises GatewayError."""
        try:
            verdict = self._store.at_once(self._claim(self._bound))
        except StoreUnavailable as error:
            raise _unavailable() from error
        if verdict is None or verdict.refused is not None:
            return False
        self.taken(verdict)
        return True

    async def take(self) -> Self:
        """Take it from the store, to be entered at once. Raises GatewayError."""
        try:
            verdict = await self._store.reserve(self._claim(self._bound))
            if verdict.refused is not None:
                verdict = await self._clamped(verdict)
        except StoreUnavailable as error:
            raise _unavailable() from error
        self.taken(verdict)
        return self

    def taken(self, verdict: Verdict) -> None:
        """Take note of the store's answer. Raises GatewayError where it is no."""
        self.left = verdict.left
        self._granted(verdict)

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store.settle(self._id, self.charge())

    def charge(self) -> Charge:
        """What the request is settled at, as far as is known now: what was said, else its bound once it was sent."""
        if self._spent is not None:
            return self._spent
        return self._earlier.plus(self._bound) if self._sent else self._earlier

    def sending(self) -> None:
        """Say that an upstream may see the request from now on.

        Raises GatewayError where it waited too long for that. Have it open in the spool before: whoever rebuilds the
        store's state afterwards must find it there.
        """
        if self._clock() >= self._send_by:
            raise GatewayError(
                OVERLOADED, "The request waited too long between its reservation and its call.", retry_after=1
            )
        self._sent = True

    def spent(self, charge: Charge) -> None:
        """Say what all attempts together were billed, or may have been: what leaving settles it at."""
        self._spent = charge

    async def again(self, *, billed: bool = True) -> None:
        """Make room for another attempt after one that was sent, and may have been `billed`.

        Raises GatewayError where both do not fit, or where it waited too long and the store does not answer.
        """
        if not billed:
            self._sent, self._spent = False, None
            if self._clock() < self._send_by:
                return
        elif not self._sent:
            return
        spent = self.charge()
        try:
            self._granted(await self._store.reserve(self._claim(spent.plus(self._bound))))
        except StoreUnavailable as error:
            raise _unavailable() from error
        self._earlier, self._sent, self._spent = spent, False, None

    def _claim(self, amount: Charge) -> Claim:
        return Claim(self._id, self._allowances, amount, self._policy.on_store_failure, True)  # noqa: FBT003 # quick

    def _granted(self, verdict: Verdict) -> None:
        if verdict.refused is not None:
            raise refusal(self._allowances[verdict.refused], verdict, self._bound)
        self._send_by = verdict.send_by

    async def _clamped(self, verdict: Verdict) -> Verdict:
        """Ask again, with lower caps, as long as the tenant's policy has any to offer."""
        tries = 1
        while verdict.refused is not None and tries < _TRIES and self._clamp(verdict):
            verdict = await self._store.reserve(self._claim(self._bound))
            tries += 1
        return verdict

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

    Taking it raises GatewayError: `rate_limit_exceeded`, or `overloaded` where the store does not answer. `left` is
    what remains of each limit, for the `x-ratelimit-*` headers. A request that a limit let in has used its place in
    the rate, whatever becomes of it.
    """

    __slots__ = ("_claim", "_progress", "_store", "left")

    def __init__(
        self,
        store: Store,
        claim_id: str,
        allowances: Allowances,
        on_failure: OnFailure = OnFailure.CLOSED,
        progress: Progress | None = None,
    ) -> None:
        self.left: tuple[int, ...] = ()
        self._store = store
        self._progress = progress
        self._claim = Claim(claim_id, allowances, NOTHING, on_failure)

    def at_once(self) -> bool:
        """Whether it was taken without asking anybody; else `take` it. Raises GatewayError."""
        try:
            verdict = self._store.at_once(self._claim)
        except StoreUnavailable as error:
            raise _unavailable() from error
        if verdict is None:
            return False
        self._taken(verdict)
        return True

    async def take(self) -> Self:
        """Take it from the store, to be entered at once. Raises GatewayError."""
        try:
            verdict = await self._store.reserve(self._claim)
        except StoreUnavailable as error:
            raise _unavailable() from error
        self._taken(verdict)
        return self

    def _taken(self, verdict: Verdict) -> None:
        self.left = verdict.left
        if self._progress is not None:
            tell_rates(self._progress, self._claim.allowances, verdict.left)
        if verdict.refused is not None:
            raise refusal(self._claim.allowances[verdict.refused], verdict, NOTHING)

    def __enter__(self) -> Self:
        return self

    def __exit__(
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


def tell_rates(progress: Progress, allowances: Allowances, left: Sequence[int]) -> None:
    """Note what is left of the limits, for the `x-ratelimit-*` headers; behind what budgets have left, on refusals."""
    if left:
        limits = allowances.limits
        progress.rates += ((limits, left if len(left) == len(limits) else left[-len(limits) :]),)
