"""The truth about requests, apart from any store: what upstreams could bill, in the window of each reservation.

A request that was sent and whose end nobody knows counts at its bound. Coroutines stand still at every `Wait`, so
whoever drives them decides what happens in between.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from random import Random
from typing import Any

from app.errors import GatewayError
from app.metering import (
    NOTHING,
    Allowances,
    Budget,
    Charge,
    OnFailure,
    OnOverBudget,
    Policy,
    Scope,
    ScopeKind,
    Spent,
    Unit,
    Window,
)
from app.pipeline.reservation import Bound, Reservation, Store
from app.prices import Prices

START = 4_102_444_800.0 + 86_400 - 130  # two minutes before a midnight in 2100: after any real expiry, and windows roll
PRICE = Prices(input=1_000_000, output=2_000_000)  # 1000 and 2000 nano-USD a token
BOUNDS = ((2, 5), (3, 9), (40, 160), (200, 400))  # prompt, output cap
POLICIES = (
    Policy(),
    Policy(OnOverBudget.CLAMP, 5, OnFailure.LOCAL_SLICE),
    Policy(OnOverBudget.REJECT, 64, OnFailure.LOCAL_SLICE),
)


class Killed(BaseException):
    """The process of this coroutine is gone."""


class Wait:
    """Where a coroutine stands: before a command, or (without one) between two steps of its own."""

    def __init__(self, command: tuple[int, bytes] | None = None) -> None:
        self.command = command

    def __await__(self) -> Generator[Wait, Any, Any]:
        """Stand still until the world goes on."""
        return (yield self)


@dataclass
class Task:
    """A coroutine that the world drives."""

    coroutine: Coroutine[Wait, Any, Any]
    at: Wait | None = None


@dataclass
class Request:
    """The truth about one request."""

    allowances: Allowances
    reserved_at: float = 0.0
    earlier: Charge = NOTHING
    now: Charge = NOTHING
    over: Charge = NOTHING
    closed: bool = False
    host: str = ""
    delivered: bool = False
    """Whether the ledger has it; before that only its host's spool knows of it."""
    _counters: tuple[float, list[tuple[tuple[str, int], bool]]] | None = None

    @property
    def billable(self) -> Charge:
        """What upstreams can bill at most, overage apart."""
        return self.earlier.plus(self.now)

    @property
    def counters(self) -> list[tuple[tuple[str, int], bool]]:
        """The budgets in the windows of its reservation, by name and start, and whether each counts tokens."""
        if self._counters is None or self._counters[0] != self.reserved_at:
            found = [
                ((one.name, one.window.span(self.reserved_at)[0]), one.unit is Unit.TOKENS)
                for one in self.allowances.budgets
            ]
            self._counters = self.reserved_at, found
        return self._counters[1]


def allowances(scale: int, tight: int) -> tuple[Allowances, ...]:
    """Three kinds of request over four budgets, one of which is tight. `scale` is in percent."""
    ordinary = iter(3 if index == tight else 1 for index in range(4))

    def budget(kind: ScopeKind, name: str, window: Window, unit: Unit, limit: int) -> Budget:
        return Budget(Scope(kind, name), window, unit, limit * scale // 100 // next(ordinary))

    every = budget(ScopeKind.EVERYTHING, "", Window.TOTAL, Unit.TOKENS, 6000)
    money = budget(ScopeKind.MODEL, "chat", Window.MONTH, Unit.MONEY, 8_000_000)
    tenant = budget(ScopeKind.TENANT, "t", Window.MINUTE, Unit.TOKENS, 3000)
    key = budget(ScopeKind.KEY, "t/k", Window.DAY, Unit.TOKENS, 2200)
    return Allowances((every, money, tenant)), Allowances((key, every)), Allowances((every, tenant, key, money))


class Truth:
    """Requests, a clock, and what must hold. `fence` off leaves out the rule that a reservation must be sent soon."""

    def __init__(self, seed: int, *, fence: bool = True) -> None:
        self.random = Random(seed)
        self.now = START
        self.requests: dict[str, Request] = {}
        self.limits: dict[tuple[str, int], int] = {}
        self.tight = seed % 4
        self.granted = self.refused = self.crashes = self.rebuilds = 0
        self._fence = fence

    def clock(self) -> float:
        """The virtual time, in seconds; the wall clock and the monotonic one."""
        return self.now

    def check(self) -> None:
        """No budget is exceeded by what upstreams can bill."""
        for counter, spent in self.spent().items():
            assert spent <= self.limits[counter], f"{counter}: {spent} of {self.limits[counter]}"

    def spent(self, *, over: bool = False) -> dict[tuple[str, int], int]:
        """What upstreams can bill, by budget and window; with `over`, what they billed beyond bounds as well."""
        total: dict[tuple[str, int], int] = defaultdict(int)
        for one in self.requests.values():
            earlier, now = one.earlier, one.now
            tokens, nano = earlier.tokens + now.tokens, earlier.nano_usd + now.nano_usd
            if over:
                tokens, nano = tokens + one.over.tokens, nano + one.over.nano_usd
            if tokens or nano:
                for counter, counts_tokens in one.counters:
                    total[counter] += tokens if counts_tokens else nano
        return total

    def ledger(self, counts: Callable[[str, Request], bool]) -> list[Spent]:
        """What a ledger knows of the requests that `counts` chooses, overage included."""
        total: dict[tuple[str, int], Spent] = {}
        for name, one in self.requests.items():
            if counts(name, one):
                for budget in one.allowances.budgets:
                    start = budget.window.span(one.reserved_at)[0]
                    before = total.get((budget.name, start), Spent(budget, start, 0))
                    used = before.used + of(budget, one.billable.plus(one.over))
                    total[budget.name, start] = Spent(budget, start, used)
        return list(total.values())

    async def serve(self, store: Store, name: str, request: Request, bound: Bound, policy: Policy) -> None:
        """One request: reserve, send, learn what it cost; now and then a second attempt."""
        clock = self.clock if self._fence else (lambda: 0.0)
        try:
            with await Reservation(store, name, request.allowances, bound, policy, clock).take() as held:
                self.granted += 1
                request.reserved_at = self.now
                await Wait()
                for _ in range(self.random.choice((1, 1, 2))):
                    await held.again()
                    self._send(held, request)
                    await Wait()
                    self._end(held, request)
        except GatewayError:
            self.refused += 1
        request.closed = True

    def _send(self, held: Reservation, request: Request) -> None:
        request.earlier = request.billable
        request.now = held.bound.charge()  # open in the spool, at its bound
        try:
            held.sending()
        except GatewayError:
            request.now = NOTHING
            raise
        for budget in request.allowances.budgets:
            counter = budget.name, budget.window.span(request.reserved_at)[0]
            self.limits[counter] = max(self.limits.get(counter, 0), budget.limit)

    def _end(self, held: Reservation, request: Request) -> None:
        bound = held.bound.charge()
        how, share = self.random.random(), self.random.random()
        spent = Charge(int(bound.tokens * share), int(bound.nano_usd * share))
        if how < 0.5:
            request.now = spent
        elif how < 0.6:
            request.over = request.over.plus(Charge(3, 50))
        elif how < 0.8:
            request.now = spent.plus(Charge(16, 16_000)).within(bound)
        else:
            return  # nobody knows: it stays at its bound
        held.spent(request.billable.plus(request.over))


def of(budget: Budget, amount: Charge) -> int:
    """What an amount takes of a budget."""
    return amount.tokens if budget.unit is Unit.TOKENS else amount.nano_usd
