"""Reserve: take the upper bound of what a request can cost from every budget in scope, before an upstream sees it.

A `Reservation` is entered before the call and settles itself when it is left, however it is left: there is no
`await` on the way out, so a cancellation cannot come between. It settles at what `settle` makes of the request, and at
its bound where nobody said anything after it was sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Protocol, Self

from app.errors import BUDGET_EXCEEDED, OVERLOADED, RATE_LIMIT_EXCEEDED, GatewayError
from app.exchange import Call
from app.metering import (
    MOST,
    NOTHING,
    Allowances,
    Budget,
    Charge,
    Claim,
    Level,
    Limit,
    Measure,
    OnFailure,
    OnOverBudget,
    Policy,
    Unit,
    Verdict,
)  # fmt: skip
from app.pipeline.bound import output_cap, prompt_bound
from app.pipeline.plan import Plan
from app.pipeline.progress import Progress, Rate
from app.prices import Prices
from app.scopes import Terms
from app.table import Table


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

    async def __aenter__(self) -> Self:
        await self.take()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store.settle(self._id, self.charge())

    async def take(self) -> None:
        """Reserve; what entering does."""
        tries = 1
        try:
            verdict = await self._store.reserve(self._claim(self._bound))
            while verdict.refused is not None and tries < _TRIES and self._clamp(verdict):
                verdict = await self._store.reserve(self._claim(self._bound))
                tries += 1
        except StoreUnavailable as error:
            raise _unavailable() from error
        self.left = verdict.left
        self._granted(verdict)

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

    async def __aenter__(self) -> Self:
        try:
            verdict = await self._store.reserve(self._claim)
        except StoreUnavailable as error:
            raise _unavailable() from error
        self.left = verdict.left
        if self._progress is not None:
            tell_rates(self._progress, self._claim.allowances, verdict.left)
        if verdict.refused is not None:
            raise refusal(self._claim.allowances[verdict.refused], verdict, NOTHING)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store.settle(self._claim.id, NOTHING)


Settle = Callable[[Progress], None]
"""Works out what a request is charged, from what is known of it at its end."""


class Unlimited:
    """Stands where nothing limits a request: it is settled all the same."""

    __slots__ = ("_call", "_progress", "_settle")

    def __init__(self, call: Call, progress: Progress, settle: Settle) -> None:
        self._call = call
        self._progress = progress
        self._settle = settle

    async def __aenter__(self) -> Call:
        return self._call

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._settle(self._progress)


class Held(Reservation):
    """The reservation of a request on its path. Entering it gives the call that fits."""

    __slots__ = ("_call", "_progress", "_settle")

    def __init__(
        self, store: Store, terms: Terms, call: Call, plan: Plan, progress: Progress, settle: Settle
    ) -> None:  # fmt: skip
        super().__init__(store, progress.request_id, terms.reserve, bound_of(call, plan), terms.policy)
        self._call = call
        self._progress = progress
        self._settle = settle

    async def __aenter__(self) -> Call:  # type: ignore[override]  # what the path goes on with
        progress, call = self._progress, self._call
        try:
            await self.take()
        finally:
            tell_rates(progress, self._allowances, self.left)
        progress.held = self
        if self.clamped:
            cap = self.bound.output_cap
            progress.clamped = cap
            progress.call = call = call._replace(max_output_tokens=cap)
        return call

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._settle(self._progress)
            self.spent(self._progress.charge.within(MOST))
        finally:
            self._store.settle(self._id, self.charge())


class Reserver:
    """Opens what a request needs to hold."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def admit(self, progress: Progress, table: Table) -> Ticket | nullcontext[None]:
        """A place within the limits on requests, where a guard will look at the prompt before anything is reserved."""
        terms = _terms(progress, table)
        if terms is None or not terms.admit.limits:
            return _ADMITTED
        return Ticket(
            self._store, f"{progress.request_id}/t", terms.admit, terms.policy.on_store_failure, progress
        )  # fmt: skip

    def reserve(
        self, call: Call, plan: Plan, progress: Progress, table: Table, settle: Settle
    ) -> Held | Unlimited:  # fmt: skip
        """The bound of a call, in every budget and limit that it is held to. `settle` runs when it is left."""
        terms = _terms(progress, table)
        if terms is None or terms.free:
            return Unlimited(call, progress, settle)
        return Held(self._store, terms, call, plan, progress, settle)


_ADMITTED = nullcontext(None)


def _terms(progress: Progress, table: Table) -> Terms | None:
    who, call = progress.principal, progress.call
    if table.scopes.nothing or who is None or call is None:
        return None
    return table.scopes.of(who.tenant, who.key, call.model)


def bound_of(call: Call, plan: Plan) -> Bound:
    """What one attempt at any deployment of the plan can cost at most."""
    prompt = cap = 0
    for _, deployment in plan.choices:
        prompt = max(prompt, prompt_bound(call, deployment))
        cap = max(cap, output_cap(call, deployment))
    prices = tuple([deployment.price for _, deployment in plan.choices])
    return Bound(prompt, cap, call.choices, prices, call.images)


def tell_rates(progress: Progress, allowances: Allowances, left: Sequence[int]) -> None:
    """Note what is left of the rates, for the `x-ratelimit-*` headers."""
    limits = allowances.limits
    if not limits or not left:
        return
    for limit, rest in zip(limits, left[len(left) - len(limits) :], strict=True):
        if limit.measure is not Measure.CONCURRENT:
            progress.rates += (Rate(limit.measure, limit.limit, max(0, rest), limit.interval),)


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
