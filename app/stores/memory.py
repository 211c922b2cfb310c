"""Budgets and limits in this process: for one worker, and exact. Nothing here waits, so nothing can come between.

What a crash loses is rebuilt at start from ledger and spool (`restore`). The wall clock cuts the windows. A clock that
jumps back finds the earlier window's counter still there (`metering.kept` says how long), so a jump never grants a
window twice.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from math import floor

from app.metering import (
    BURST,
    NOTHING,
    Allowances,
    Charge,
    Claim,
    Level,
    Limit,
    Measure,
    Spent,
    Unit,
    Verdict,
    Window,
    kept,
    refused,
)  # fmt: skip
from app.pipeline.reservation import StoreUnavailable

COMPILED = 100_000
"""How many sets of allowances are kept compiled; past it all are dropped (an old routing table's go this way)."""

FORGET_S = 600.0
"""Seconds between two searches for counters that may be forgotten."""

ENDED = 10_000
"""How many reservations are remembered after their lease ended."""


class _Counter:
    """One budget in one window, or a concurrency. `taken` is what was used (overage included) and what is held."""

    __slots__ = ("kept", "over", "taken")

    def __init__(self, until: int) -> None:
        self.taken = self.over = 0
        self.kept = until


class _Bucket:
    """A token bucket, kept as the time at which it will be full again (the generic cell rate algorithm)."""

    __slots__ = ("full_at", "interval", "per_token")

    def __init__(self, limit: Limit) -> None:
        self.full_at = 0.0
        self.interval = _interval(limit)
        self.per_token = limit.measure is Measure.TOKENS

    def left(self, now: float) -> int:
        """What it holds; below zero when more was spent than it held."""
        empty = self.full_at - now
        return floor((BURST - empty if empty > 0 else BURST) / self.interval + _ROUNDING)


def _interval(limit: Limit) -> float:
    """Seconds per token; so many that nothing fits where the limit is zero, and still no infinity to reckon with."""
    return min(limit.interval, 1e200)


_ROUNDING = 1e-6
"""So that a bucket that is full but for the last bit of a float counts as full."""


class _Rows:
    """The counters of a set of allowances, found once per window; `all` is in the order of the allowances."""

    __slots__ = ("all", "buckets", "limited", "money", "places", "since", "tokens", "until")

    def __init__(self) -> None:
        self.since, self.until = Window.TOTAL.span(0)
        self.tokens: list[tuple[_Counter, int]] = []  # with their limits
        self.money: list[tuple[_Counter, int]] = []
        self.places: list[tuple[_Counter, int]] = []
        self.all: list[tuple[_Counter, int]] = []
        self.buckets: list[_Bucket] = []
        self.limited = False


_GRANTED = Verdict(None)

_Held = tuple[_Rows, int, int, bool, float]
"""A reservation: where, tokens, nano-USD, sent, and the end of its lease (monotonic seconds)."""


class MemoryStore:
    """Implements `reserve.Store` for one worker.

    `lease` is in seconds: a reservation that nobody settled is ended after it, at its bound where it was sent,
    else refunded. `wall` and `monotonic` are the clocks.
    """

    def __init__(
        self,
        *,
        lease: float = 900.0,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ready = True
        """Whether what was spent before is known. While it is not, nothing is taken from budgets."""
        self._lease = lease
        self._wall = wall
        self._monotonic = monotonic
        self._counters: dict[tuple[str, int], _Counter] = {}
        self._buckets: dict[str, _Bucket] = {}
        self._rows: dict[Allowances, _Rows] = {}
        self._open: dict[str, _Held] = {}  # ordered by the end of the lease
        self._ended: dict[
            str, tuple[_Rows, Charge]
        ] = {}  # the last ones whose lease ended, and what they were settled at
        self._look_at = 0.0
        self._forget_at = 0.0

    async def reserve(self, claim: Claim) -> Verdict:
        """Take the claim from all its allowances or from none."""
        return self.at_once(claim)

    def at_once(self, claim: Claim) -> Verdict:
        """The same: there is nobody to ask."""
        now, name = self._monotonic(), claim.id
        if now >= self._look_at:
            self.end_leases(now)
        if name in self._open:
            return self._raise(claim, now)
        if name in self._ended:
            raise StoreUnavailable("the lease of this reservation is over")
        allowances, amount = claim.allowances, claim.amount
        tokens, money = amount.tokens, amount.nano_usd
        if not self.ready and allowances.budgets:
            raise StoreUnavailable("what was spent before is not known yet")
        wall = self._wall()
        rows = self._rows.get(allowances)
        if rows is None or not rows.since <= wall < rows.until:
            rows = self._compile(allowances, wall)
        left = _take(rows, tokens, money, 1, now)
        if left is None:
            return refused(allowances, amount, _left(rows, now), wall)
        self._open[name] = (rows, tokens, money, claim.sent, now + self._lease)
        return Verdict(None, left) if left else _GRANTED

    def _raise(self, claim: Claim, now: float) -> Verdict:
        """Raise a reservation, and its lease, where it was charged first."""
        rows, tokens, money, sent, _ = self._open.pop(claim.id)
        extra = Charge(claim.amount.tokens - tokens, claim.amount.nano_usd - money)
        left = _take(rows, extra.tokens, extra.nano_usd, 0, now)
        if left is not None:
            tokens, money = claim.amount.tokens, claim.amount.nano_usd
        self._open[claim.id] = (rows, tokens, money, sent or claim.sent, now + self._lease)
        return refused(claim.allowances, extra, _left(rows, now), self._wall()) if left is None else Verdict(None, left)

    def settle(self, claim_id: str, charge: Charge) -> None:
        """End a reservation: what is beyond `charge` goes back, even when its lease ended before."""
        held = self._open.pop(claim_id, None)
        if held is not None:
            _settle(held, charge)
        elif claim_id in self._ended:
            rows, before = self._ended.pop(claim_id)
            _add(rows.tokens, charge.tokens - before.tokens)
            _add(rows.money, charge.nano_usd - before.nano_usd)

    async def levels(self, allowances: Allowances) -> list[Level]:
        """How full the budgets are in their current windows."""
        rows = self._compile(allowances, self._wall())
        held: dict[int, int] = {}
        for where, tokens, money, _, _ in self._open.values():
            for several, amount in ((where.tokens, tokens), (where.money, money)):
                for counter, _ in several:
                    held[id(counter)] = held.get(id(counter), 0) + amount
        found = []
        for budget, (counter, _) in zip(allowances.budgets, rows.all, strict=False):
            reserved = held.get(id(counter), 0)
            found.append(Level(budget, counter.taken - reserved, reserved, counter.over))
        return found

    def restore(self, spent: Iterable[Spent]) -> None:
        """Set what was used before this process began, from ledger and spool. Call it before the first claim."""
        for budget, start, used in spent:
            self._counter(budget.name, start, budget.window.span(start)[1]).taken = used
        self.ready = True

    def end_leases(self, now: float) -> None:
        """End the reservations whose lease is over at `now` (monotonic). Done on the way, about once a second."""
        self._look_at = now + 1.0
        ended = list(itertools.takewhile(lambda item: item[1][-1] <= now, self._open.items()))
        for claim_id, held in ended:
            _, tokens, money, sent, _ = held
            del self._open[claim_id]
            charge = Charge(tokens, money) if sent else NOTHING
            self._ended[claim_id] = held[0], charge
            _settle(held, charge)
        while len(self._ended) > ENDED:
            del self._ended[next(iter(self._ended))]

    def _compile(self, allowances: Allowances, now: float) -> _Rows:
        if len(self._rows) >= COMPILED:
            self._rows.clear()
        if now >= self._forget_at:
            self._forget_at = now + FORGET_S
            self._forget(now)
        rows = _Rows()
        for budget in allowances.budgets:
            start, end = budget.window.span(now)
            rows.since, rows.until = max(rows.since, start), min(rows.until, end)
            row = (self._counter(budget.name, start, end), budget.limit)
            rows.all.append(row)
            (rows.tokens if budget.unit is Unit.TOKENS else rows.money).append(row)
        for limit in allowances.limits:
            if limit.measure is Measure.CONCURRENT:
                rows.places.append((self._counter(limit.name, *Window.TOTAL.span(now)), limit.limit))
            else:
                rows.buckets.append(self._bucket(limit))
        rows.all += rows.places
        rows.limited = bool(allowances.limits)
        self._rows[allowances] = rows
        return rows

    def _counter(self, name: str, start: int, end: int) -> _Counter:
        counter = self._counters.get((name, start))
        if counter is None:
            counter = self._counters[name, start] = _Counter(kept(start, end))
        return counter

    def _bucket(self, limit: Limit) -> _Bucket:
        bucket = self._buckets.setdefault(limit.name, _Bucket(limit))
        bucket.interval = _interval(limit)
        return bucket

    def _forget(self, now: float) -> None:
        """Drop the counters of windows that ended long ago. No reservation lives that long."""
        old = [key for key, counter in self._counters.items() if counter.kept < now]
        for key in old:
            del self._counters[key]


def _take(rows: _Rows, tokens: int, money: int, places: int, now: float) -> tuple[int, ...] | None:
    """Take from every counter and bucket, or from none. What is left of the limits, or None where it does not fit.

    The hot path: taken on the way, and put back in the rare case that something later has no room.
    """
    for counter, limit in rows.tokens:
        taken = counter.taken + tokens
        if taken > limit and tokens > 0:
            return _put_back(rows, tokens, money, counter)
        counter.taken = taken
    for counter, limit in rows.money:
        taken = counter.taken + money
        if taken > limit and money > 0:
            return _put_back(rows, tokens, money, counter)
        counter.taken = taken
    if not rows.limited:
        return ()
    left = _take_limits(rows, tokens, places, now)
    return _put_back(rows, tokens, money) if left is None else left


def _put_back(rows: _Rows, tokens: int, money: int, until: _Counter | None = None) -> tuple[int, ...] | None:
    """Take back what was taken from the budgets before the counter `until`; from all of them without one. None."""
    for several, amount in ((rows.tokens, tokens), (rows.money, money)):
        for counter, _ in several:
            if counter is until:
                return None
            counter.taken -= amount
    return None


def _take_limits(rows: _Rows, tokens: int, places: int, now: float) -> tuple[int, ...] | None:
    """The same for places and buckets alone."""
    left: list[int] = []
    for counter, limit in rows.places:
        rest = limit - counter.taken - places
        if rest < 0 < places:
            return _put_limits_back(rows, tokens, places, len(left))
        counter.taken += places
        left.append(rest)
    for bucket in rows.buckets:
        need = tokens if bucket.per_token else places
        full_at, interval = bucket.full_at, bucket.interval
        full_at = (full_at if full_at > now else now) + need * interval  # noqa: FURB136 # max() takes 0.15 µs
        rest = floor((BURST + now - full_at) / interval + _ROUNDING)
        if rest < 0 < need:
            return _put_limits_back(rows, tokens, places, len(left))
        bucket.full_at = full_at
        left.append(rest)
    return tuple(left)


def _put_limits_back(rows: _Rows, tokens: int, places: int, count: int) -> tuple[int, ...] | None:
    """Take back what was taken from the first so many places and buckets. None."""
    for counter, _ in rows.places[:count]:
        counter.taken -= places
    for bucket in rows.buckets[: max(0, count - len(rows.places))]:
        bucket.full_at -= (tokens if bucket.per_token else places) * bucket.interval
    return None


def _left(rows: _Rows, now: float) -> list[int]:
    return [limit - counter.taken for counter, limit in rows.all] + [bucket.left(now) for bucket in rows.buckets]


def _settle(held: _Held, charge: Charge) -> None:
    """Give back what was not spent. A place is free again; a request stays counted; tokens go back to their bucket."""
    rows, tokens, money, _, _ = held
    more_tokens, more_money = charge.tokens - tokens, charge.nano_usd - money
    if more_tokens <= 0 and more_money <= 0:
        for counter, _ in rows.tokens:
            counter.taken += more_tokens
        for counter, _ in rows.money:
            counter.taken += more_money
    else:
        _add(rows.tokens, more_tokens)
        _add(rows.money, more_money)
    if rows.limited:
        for counter, _ in rows.places:
            counter.taken -= 1
        for bucket in rows.buckets:
            if bucket.per_token and bucket.full_at:
                bucket.full_at += more_tokens * bucket.interval


def _add(row: list[tuple[_Counter, int]], more: int) -> None:
    for counter, _ in row:
        counter.taken += more
        if more > 0:
            counter.over += more
