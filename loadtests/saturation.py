"""A model of a fleet before one Redis: round trips, utilisation, waits. Arithmetic alone, no clock, no process.

What a worker asks follows from the rules of `app/stores/escrow.py`, `redis.py` and `budgets.lua`; what it costs, from
measured service times. Waits are those of an M/G/1 queue: Poisson arrivals, one server, a service time for each kind
of call. The mean is Pollaczek's and Khinchine's, ρ E[S²] / (2 E[S] (1 − ρ)) (Kleinrock, Queueing Systems I, 1975, 5.6;
with one kind of call it is M/D/1's). The tail is taken for exponential, P(W > t) = ρ exp(−ρ t / E[W]), which is exact
for M/M/1 and in heavy traffic (Kingman 1962).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum

SHARE = 50
"""A slice is at most the limit / (50 × the workers of a host)."""
LEAST = 0.1
"""No slice is drawn from what has less than this part left."""
SLICE_S = 9.0
"""Seconds that a slice is used."""
STARVED_S = 1.0
"""Seconds after which a worker asks again for a slice that it was not granted."""
BATCH = 100
"""Settlements in a call at most."""
POLLS, REAPS, TOLD = 5.0, 1.0, 0.5
"""Calls a second, whatever the traffic: a worker reads the epoch, and ends leases; a host reads budgets' levels."""
BURST_S = 60.0
"""Seconds of its rate that a bucket holds: a limit that lasts no longer is reached."""
MOST_WORKERS = 10**6


class Kind(Enum):
    """What a limit counts. Slices of a window's budget are bounded over all hosts, those of the others are not."""

    WINDOW = 0
    RATE = 1
    PLACES = 2


@dataclass(frozen=True, slots=True)
class Scope:
    """One budget or limit of a request, or `rows` alike.

    `lasts` is the limit over what all workers together spend a second: how many seconds it would last from the full.
    `bound` is what a request reserves over what it spends, `left` the part of the limit that is left.
    """

    lasts: float
    kind: Kind = Kind.WINDOW
    rows: int = 1
    bound: float = 4.0
    left: float = 1.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """Who asks: `workers` in hosts of `per_host`, `rate` requests a second each, that take `seconds`.

    `turn` is how long a worker's settlements are under way, in seconds: what ends meanwhile goes together.
    """

    workers: int
    per_host: int
    rate: float
    scopes: tuple[Scope, ...]
    seconds: float = 0.0
    turn: float = 0.0005

    @property
    def hosts(self) -> float:
        """How many; a part of one counts as it."""
        return max(1.0, self.workers / self.per_host)

    @property
    def rows(self) -> int:
        """Of a request."""
        return sum(scope.rows for scope in self.scopes)


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds of Redis for a call: `base`, and `each` of what it names."""

    base: float
    each: float = 0.0

    def of(self, many: float) -> float:
        """A call that names so many."""
        return self.base + self.each * many


def through(first: tuple[float, float], second: tuple[float, float]) -> Cost:
    """The line through two measured points: how many were named, seconds. No part of it is below zero."""
    each = max(0.0, (second[1] - first[1]) / (second[0] - first[0]))
    return Cost(max(0.0, first[1] - each * first[0]), each)


@dataclass(frozen=True, slots=True)
class Service:
    """What Redis takes for each kind of call.

    `reserve` is for each row, `draw` for each slice, `renew` for each lease, `levels` for each budget. A `settle` is
    what its call costs, `ended` what each reservation in it does, for each row. `reap` finds nothing to end.
    """

    reserve: Cost
    settle: Cost
    ended: Cost
    draw: Cost
    renew: Cost
    levels: Cost
    reap: Cost
    poll: Cost


def erlang_b(places: int, load: float) -> float:
    """The share of arrivals that find all places taken, `load` being rate times duration (Erlang 1917)."""
    blocked = 1.0
    for number in range(1, places + 1):
        blocked = load * blocked / (number + load * blocked)
    return blocked if load > 0 or not places else 0.0


_MANY = 10_000
"""So many places are as good as their number: beyond, what is blocked is the excess."""


def cap(fleet: Fleet, scope: Scope) -> float:
    """The largest slice, in requests' spending."""
    return scope.lasts * fleet.rate * fleet.workers / (SHARE * min(fleet.per_host, fleet.workers))


def need(scope: Scope) -> float:
    """What a request takes of a slice, in requests' spending: a place is a place."""
    return 1.0 if scope.kind is Kind.PLACES else scope.bound


def holders(fleet: Fleet, scope: Scope) -> float:
    """The share of workers that may hold a slice at a time.

    A host knows its own workers only. Slices of a window are together a fiftieth of the limit at most, which is one
    host's; of a rate or of places, as much as leaves a tenth of it.
    """
    if scope.left < LEAST or (scope.kind is Kind.RATE and scope.lasts <= BURST_S):
        return 0.0  # nearly used up, or a bucket at its bottom
    most = 1.0 if scope.kind is Kind.WINDOW else SHARE * (scope.left - LEAST)
    return min(1.0, most / fleet.hosts)


def crumbles(fleet: Fleet, scope: Scope) -> bool:
    """Whether slices of a scope come in pieces that are smaller than a bound.

    A worker draws when less than half of its cap is free, and as much as was spent since. Where the bounds of requests
    under way take that half, it draws after every request, and no more than that one spent.
    """
    return scope.kind is not Kind.PLACES and (fleet.rate * fleet.seconds + 1) * need(scope) > cap(fleet, scope) / 2


def gap(fleet: Fleet, scope: Scope) -> float:
    """The share of a slice's time that its worker has none though it might.

    It asks for the next slice before the old one is given back, which fills the fiftieth of a window: none is granted,
    and it asks again after a second, unless another request has come meanwhile.
    """
    return math.exp(-fleet.rate * fleet.turn) * STARVED_S / SLICE_S if scope.kind is Kind.WINDOW else 0.0


def covered(fleet: Fleet, scope: Scope) -> float:
    """The share of requests that slices of this scope cover.

    Of those that hold one, whatever finds no room beside the bounds of the requests under way asks Redis. Crumbs cover
    nothing and lie about for as long as a slice is used: then one cap is spent in that time.
    """
    whole, load = cap(fleet, scope), fleet.rate * fleet.seconds
    room = whole / need(scope)
    if room < 1:
        return 0.0
    places = int(room)
    blocked = erlang_b(places, load) if places <= _MANY else max(0.0, 1 - places / max(load, 1e-9))
    spent = whole / (fleet.rate * SLICE_S) if crumbles(fleet, scope) else 1.0
    return holders(fleet, scope) * min(1 - blocked, spent, 1 - gap(fleet, scope))


@dataclass(frozen=True, slots=True)
class Asked:
    """What one worker asks of Redis a second: calls by kind, `items` settlements in them, and `leases` it renews.

    `asking` is the share of requests that wait for a round trip; `drawn` counts slices.
    """

    asking: float
    reserves: float
    settles: float
    items: float
    draws: float
    drawn: float
    renews: float
    leases: float

    def trips(self) -> float:
        """Calls of the script a second that the traffic causes."""
        return self.reserves + self.settles + self.draws + self.renews


def together(rate: float, turn: float) -> float:
    """How many settlements leave in a call, on the average, where they end at random and the last call takes `turn`.

    A worker that sends nothing sends the next one at once; while it waits, others gather. Per call they gather for
    `turn`, and with probability exp(−rate × turn) nobody did: then the call after waits for the next.
    """
    return min(float(BATCH), rate * turn + math.exp(-rate * turn))


def asked(fleet: Fleet) -> Asked:
    """The calls of one worker, on the average over the fleet."""
    served = min((covered(fleet, scope) for scope in fleet.scopes), default=1.0)
    fits = all(cap(fleet, scope) >= need(scope) for scope in fleet.scopes)
    draws, drawn, ends = (
        _draws(fleet, served) if fits and fleet.scopes else (0.0, 0.0, 0.0)
    )  # what never fits is let be
    asking = fleet.rate * (1 - served)
    items = asking + drawn
    leases = asking * fleet.seconds if any(scope.kind is Kind.PLACES for scope in fleet.scopes) else 0.0
    settles = ends + (asking / together(asking, fleet.turn) if asking else 0.0)
    return Asked(1 - served, asking, settles, items, draws, drawn, 0.1 if leases > 0 else 0.0, leases)


def _draws(fleet: Fleet, served: float) -> tuple[float, float, float]:
    """Draws a second of one worker, slices that they bring, and calls that give those back.

    A slice is drawn for what was spent once less than half of the cap is free, and when nine seconds are over; those
    that are over by time go together, crumbs too. Who was granted none asks again and again.
    """
    holding = min(holders(fleet, scope) for scope in fleet.scopes)
    by_time, by_use, slices, crumbs = holding / SLICE_S, 0.0, 0.0, 0.0
    for scope in fleet.scopes:
        used = 0.0
        if scope.kind is not Kind.PLACES:
            free = cap(fleet, scope) / 2 - fleet.rate * fleet.seconds * need(scope)
            used = served * fleet.rate / (1.0 if crumbles(fleet, scope) else free)
            crumbs += used * scope.rows if crumbles(fleet, scope) else 0.0
        by_use = max(by_use, used) if crumbles(fleet, scope) else by_use + used
        slices += max(used, by_time) * scope.rows
    draws = max(by_time, by_use)
    return draws + (1 - holding) / STARVED_S, slices, crumbs / BATCH if crumbs else draws


@dataclass(frozen=True, slots=True)
class Load:
    """What Redis has to do: `calls` a second of a mean `service` and mean square `square` (seconds); `trips` a request.

    `busy` is its utilisation; from 1 on it cannot follow.
    """

    trips: float
    asking: float
    calls: float
    service: float
    square: float

    @property
    def busy(self) -> float:
        """ρ."""
        return self.calls * self.service

    @property
    def wait(self) -> float:
        """Mean seconds in the queue; infinite where it grows without end."""
        return math.inf if self.busy >= 1 else self.calls * self.square / (2 * (1 - self.busy))

    def wait_of(self, share: float) -> float:
        """Seconds that a share of the calls wait at most."""
        beyond = 1 - share
        return 0.0 if self.busy <= beyond else self.wait / self.busy * math.log(self.busy / beyond)


def load(fleet: Fleet, service: Service, budgets: int = 0) -> Load:
    """What a fleet makes of Redis; `budgets` have their levels in the metrics."""
    one = asked(fleet)
    calls = [
        (one.reserves, service.reserve.of(fleet.rows)),
        (one.settles, service.settle.base + _ended(one, fleet, service)),
        (one.draws, service.draw.of(one.drawn / one.draws if one.draws else 0.0)),
        (one.renews, service.renew.of(one.leases)),
        (REAPS, service.reap.of(0)),
        (POLLS, service.poll.of(0)),
        (TOLD * fleet.hosts / fleet.workers if budgets else 0.0, service.levels.of(budgets)),
    ]
    rate = sum(each for each, _ in calls)
    mean = sum(each * seconds for each, seconds in calls) / rate
    square = sum(each * seconds**2 for each, seconds in calls) / rate
    return Load(one.trips() / fleet.rate, one.asking, rate * fleet.workers, mean, square)


def _ended(one: Asked, fleet: Fleet, service: Service) -> float:
    """Seconds that a settlement call takes for what it ends: reservations with a request's rows, slices with one."""
    every = one.reserves * service.ended.of(fleet.rows) + one.drawn * service.ended.of(1)
    return every / one.settles if one.settles else 0.0


def workers_at(busy: float, fleet: Fleet, service: Service, budgets: int = 0) -> int:
    """The smallest number of workers that keeps Redis so busy, `MOST_WORKERS` where more would be needed.

    Each brings its traffic, and its part of the limits; hosts are as large as the fleet's, or one that is smaller.
    """

    def reached(workers: int) -> bool:
        known = min(workers, fleet.per_host)
        return load(replace(fleet, workers=workers, per_host=known), service, budgets).busy >= busy

    low, high = 0, 1
    while not reached(high):
        if high >= MOST_WORKERS:
            return MOST_WORKERS
        low, high = high, min(high * 2, MOST_WORKERS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
