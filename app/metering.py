"""The vocabulary of budgets and limits: what may be taken, from whom, in which window.

Tokens are counted one by one; money is integer nano-USD.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, TypeVar

LARGEST = 2**53 - 1
"""The largest limit: what Redis' Lua counts exactly. In money it is 9 007 199 USD, in tokens nine quadrillion."""

FOREVER = 2**40
"""The end of the window `total`, in seconds since 1970: the year 36812."""

BURST = 60.0
"""A token bucket holds one minute's worth, in seconds."""


class Unit(StrEnum):
    """What a budget counts."""

    TOKENS = "tokens"
    MONEY = "money"  # nano-USD


class Window(StrEnum):
    """A calendar window in UTC; the values stand in config."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    TOTAL = "total"

    def span(self, now: float) -> tuple[int, int]:
        """First second of the window that contains `now`, and first second after it (both since 1970)."""
        seconds = _SECONDS.get(self)
        if seconds is not None:
            start = int(now // seconds) * seconds
            return start, start + seconds
        if self is Window.TOTAL:
            return 0, FOREVER
        first = datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        after = (first + timedelta(days=32)).replace(day=1)
        return int(first.timestamp()), int(after.timestamp())


def kept(start: int, end: int) -> int:
    """When the counter of a window may be forgotten, since 1970: as long after its end as it lasted, an hour at least.

    Until then a clock that jumps back finds it, and reservations that outlive the window are settled in it.
    """
    return end + max(3600, end - start)


_SECONDS = {Window.MINUTE: 60, Window.HOUR: 3600, Window.DAY: 86400}


class ScopeKind(StrEnum):
    """Whose spending a budget counts."""

    KEY = "key"
    TENANT = "tenant"
    MODEL = "model"
    EVERYTHING = "everything"
    SHADOW = "shadow"  # what copies of a model's requests cost; no other scope counts them


@dataclass(frozen=True, slots=True)
class Scope:
    """One key, tenant or model by name, or everything (whose name is empty)."""

    kind: ScopeKind
    name: str = ""


def key_scope(tenant: str, key: str) -> Scope:
    """A key's name is only unique within its tenant. No name holds a space, so no two keys share a scope."""
    return Scope(ScopeKind.KEY, f"{tenant} {key}")


class OnFailure(StrEnum):
    """What a tenant's requests do while the shared store does not answer; the values stand in config."""

    CLOSED = "closed"  # refuse with 503
    LOCAL_SLICE = "local_slice"  # go on within what this worker already holds


class OnOverBudget(StrEnum):
    """What a tenant wants when a request's bound does not fit; the values stand in config."""

    REJECT = "reject"
    CLAMP = "clamp"


@dataclass(frozen=True, slots=True)
class Policy:
    """A tenant's choices. `clamp_floor` is the smallest output cap, in tokens per choice, that is worth a call."""

    on_over_budget: OnOverBudget = OnOverBudget.REJECT
    clamp_floor: int = 64
    on_store_failure: OnFailure = OnFailure.CLOSED


class Measure(StrEnum):
    """What a limit counts."""

    REQUESTS = "requests"  # per minute
    TOKENS = "tokens"  # per minute
    CONCURRENT = "concurrent"  # at the same time


@dataclass(frozen=True, slots=True)
class Budget:
    """`limit` tokens or nano-USD for `scope` in each `window`. Zero allows nothing.

    Two budgets of one scope, window and unit share their counter, so the smaller limit holds.
    """

    scope: Scope
    window: Window
    unit: Unit
    limit: int

    def __post_init__(self) -> None:
        _check_limit(self.limit)

    @property
    def name(self) -> str:
        """The counter's name. The scope's name stands last, so no two scopes can share one."""
        return f"{self.scope.kind}:{self.window}:{self.unit}:{self.scope.name}"


@dataclass(frozen=True, slots=True)
class Limit:
    """A rate (token bucket that holds one minute's worth) or a concurrency of `scope`. Zero allows nothing."""

    scope: Scope
    measure: Measure
    limit: int

    def __post_init__(self) -> None:
        _check_limit(self.limit)

    @property
    def interval(self) -> float:
        """Seconds in which a token bucket gains one; infinite for a limit of zero."""
        return BURST / self.limit if self.limit else float("inf")

    @property
    def name(self) -> str:
        """The counter's name."""
        return f"{self.scope.kind}:limit:{self.measure}:{self.scope.name}"


def _check_limit(limit: int) -> None:
    if not 0 <= limit <= LARGEST:
        raise ValueError(f"a limit is between 0 and {LARGEST}, not {limit}")


_Allowance = TypeVar("_Allowance", Budget, Limit)


@dataclass(frozen=True, eq=False)
class Allowances:
    """All budgets and limits that one kind of request draws on. Built once per routing table; compared by identity.

    Limits are put in order, concurrency first; of two on one counter only the smaller is kept. What runs along an
    `Allowances` has the budgets, then the limits.
    """

    budgets: tuple[Budget, ...] = ()
    limits: tuple[Limit, ...] = ()

    def __post_init__(self) -> None:
        limits = sorted(_smallest(self.limits), key=lambda one: one.measure is not Measure.CONCURRENT)
        object.__setattr__(self, "budgets", tuple(_smallest(self.budgets)))
        object.__setattr__(self, "limits", tuple(limits))

    def __len__(self) -> int:
        return len(self.budgets) + len(self.limits)

    def __getitem__(self, index: int) -> Budget | Limit:
        """Budgets first, then limits."""
        count = len(self.budgets)
        return self.budgets[index] if index < count else self.limits[index - count]


def _smallest(several: Iterable[_Allowance]) -> list[_Allowance]:
    found: dict[str, _Allowance] = {}
    for one in several:
        if one.name not in found or one.limit < found[one.name].limit:
            found[one.name] = one
    return list(found.values())


@dataclass(slots=True, unsafe_hash=True, init=False)
class Charge:
    """Tokens and nano-USD: a bound before the call, or what was spent after it.

    A value: nobody changes one. Not frozen, like the other classes made once per request, because a frozen
    dataclass takes three times as long to make.
    """

    tokens: int
    nano_usd: int

    # A dataclass's own would be interpreted where this module is compiled: 0.4 µs each; so also below.
    def __init__(self, tokens: int, nano_usd: int) -> None:
        self.tokens = tokens
        self.nano_usd = nano_usd

    def plus(self, other: Charge) -> Charge:
        """Both together."""
        return Charge(self.tokens + other.tokens, self.nano_usd + other.nano_usd)

    def within(self, other: Charge) -> Charge:
        """The smaller of both, unit by unit."""
        return Charge(min(self.tokens, other.tokens), min(self.nano_usd, other.nano_usd))


NOTHING = Charge(0, 0)
MOST = Charge(LARGEST, LARGEST)
"""What a request is charged at most, whatever an upstream claims."""


@dataclass(slots=True, init=False)
class Claim:
    """What one request wants to take from all its allowances, all or nothing.

    `id` is the gateway's own and unique (never one that a caller chose: whoever repeats an id gets the same
    reservation again). `amount` is absolute: a second claim under the same id *raises* the reservation to it.
    `sent` says that an upstream may see the request as soon as this is granted: such a reservation, once its
    lease ends, is settled at its bound; one that was not sent is refunded.
    """

    id: str
    allowances: Allowances
    amount: Charge
    on_failure: OnFailure
    sent: bool

    def __init__(
        self,
        id: str,  # noqa: A002 # a field
        allowances: Allowances,
        amount: Charge,
        on_failure: OnFailure = OnFailure.CLOSED,
        sent: bool = False,  # noqa: FBT001, FBT002 # a field
    ) -> None:
        self.id = id
        self.allowances = allowances
        self.amount = amount
        self.on_failure = on_failure
        self.sent = sent


@dataclass(slots=True, init=False)
class Verdict:
    """The store's answer to a claim.

    `refused` is the index of an allowance that the claim does not fit into, or None where all was taken. `left` is
    what remains: of the limits, after this claim, where it was granted; of every allowance where it was refused
    (below zero where a limit was lowered or a provider billed beyond a bound). `retry_after` is the seconds
    until it may fit, None for never. `send_by` (monotonic seconds) is when a granted claim becomes void unless it
    was sent before.
    """

    refused: int | None
    left: tuple[int, ...]
    retry_after: float | None
    send_by: float

    def __init__(
        self,
        refused: int | None,
        left: tuple[int, ...] = (),
        retry_after: float | None = None,
        send_by: float = float("inf"),
    ) -> None:
        self.refused = refused
        self.left = left
        self.retry_after = retry_after
        self.send_by = send_by


def taken(allowance: Budget | Limit, amount: Charge) -> int:
    """What a claim of this amount takes from one allowance: its tokens, its money, or one request."""
    if isinstance(allowance, Budget):
        return amount.tokens if allowance.unit is Unit.TOKENS else amount.nano_usd
    return amount.tokens if allowance.measure is Measure.TOKENS else 1


def refused(allowances: Allowances, amount: Charge, left: Sequence[int], now: float) -> Verdict:
    """The verdict on a claim that does not fit into what is left: it names the allowance that is longest in the way."""
    worst, wait = 0, -1.0
    for index, rest in enumerate(left):
        allowance = allowances[index]
        need = taken(allowance, amount)
        if need > max(rest, 0) and (seconds := _wait(allowance, need, rest, now)) > wait:
            worst, wait = index, seconds
    return Verdict(worst, tuple(left), wait if wait < NEVER else None)


NEVER = float("inf")


def _wait(allowance: Budget | Limit, need: int, rest: int, now: float) -> float:
    """Seconds until so much may fit into an allowance that has `rest` left."""
    if need > allowance.limit:
        return NEVER
    if isinstance(allowance, Budget):
        return NEVER if allowance.window is Window.TOTAL else allowance.window.span(now)[1] - now
    return 1.0 if allowance.measure is Measure.CONCURRENT else (need - rest) * allowance.interval


class Level(NamedTuple):
    """How full a budget is in its current window. `used` includes `overage`: billed beyond what was reserved."""

    budget: Budget
    used: int
    reserved: int
    overage: int


class Spent(NamedTuple):
    """What a ledger says was used of one budget in the window that begins at `start`."""

    budget: Budget
    start: int
    used: int
