"""Invented traffic: requests with known rates of bad events, observed by the code that observes real ones."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import heappop, heappush
from itertools import accumulate
from math import comb
from random import Random
from typing import NamedTuple, Protocol

from app.control.blocks import Book, block_size
from app.control.evariable import Counts
from app.control.gates import limits_of, tally
from app.control.policy import Bad, Gate
from app.control.units import Meeting, Unit, meet
from app.exchange import Result


class Batch(NamedTuple):
    """What some traffic brought: closed blocks with counts per gate, and the requests as a plain rule sees them.

    `requests` counts requests and bad ones by arm, at the first gate, in the order in which they were sent.
    """

    blocks: Sequence[Sequence[Counts]]
    requests: Counts


class Traffic(Protocol):
    """Where rehearsed requests come from."""

    def send(self, requests: int, weight: float, epoch: int) -> Batch:
        """So many requests at this weight (percent); `epoch` numbers the weights."""
        ...


@dataclass(frozen=True, slots=True)
class Rates:
    """Probability of a bad event per request in either arm."""

    stable: float
    candidate: float

    def at(self, weight: float, bad_from: float) -> tuple[float, float]:
        """Both rates; below the weight `bad_from` the candidate is like stable."""
        return self.stable, self.stable if weight < bad_from else self.candidate


class Independent:
    """Requests that do not depend on each other, each its own unit, with results at once and own events per gate."""

    def __init__(self, random: Random, rates: Sequence[Rates], bad_from: float = 0.0) -> None:
        self._random = random.random
        self._rates, self._bad_from = rates, bad_from
        self._now: list[tuple[float, float]] = []
        self._weight = -1.0
        self._seen = 0

    def send(self, requests: int, weight: float, epoch: int) -> Batch:
        """Blocks as a `Book` would fill them; the epoch does not matter here."""
        del epoch
        if weight != self._weight:
            self._weight = weight
            self._now = [rate.at(weight, self._bad_from) for rate in self._rates]
        first = self._block(min(block_size(self._seen), requests))
        blocks, total = [first], first[0]
        rest = requests - total.stable - total.candidate
        while rest:
            block = self._block(min(block_size(self._seen), rest))
            blocks.append(block)
            total = total.plus(block[0])
            rest -= block[0].stable + block[0].candidate
        return Batch(blocks, total)

    def _block(self, size: int) -> list[Counts]:
        draw = _draw if size <= 100 else _draw_many
        chance = self._random
        self._seen += size
        candidate = draw(chance, size, self._weight / 100)
        stable = size - candidate
        return [Counts(stable, draw(chance, stable, p), candidate, draw(chance, candidate, q)) for p, q in self._now]


def _draw(chance: Callable[[], float], n: int, p: float) -> int:
    """A binomial number."""
    return bisect(_binomial(n, p), chance())


def _draw_many(chance: Callable[[], float], n: int, p: float) -> int:
    """The same for a large n, a hundred at a time."""
    return sum(_draw(chance, min(100, n - start), p) for start in range(0, n, 100))


@dataclass(frozen=True, slots=True)
class Crowd:
    """Sticky users: how many, Zipf's exponent of their traffic, and how unequal their rates of bad events are.

    A user's rate is drawn from Beta(mean * evenness, (1 - mean) * evenness); 5 gives Beta(0.1, 4.9) at a mean of 0.02.
    The candidate multiplies a user's rate. With `per_request` every request is counted by itself, which is wrong: to
    show it.
    """

    users: int = 10_000
    zipf: float = 1.1
    evenness: float = 5.0
    observed: int = 1
    per_request: bool = False


_Visit = tuple[bool, float, Meeting | None]
"""Whether the candidate serves it, the probability that it is bad, and what is observed."""


class Lifelike:
    """Requests one by one, with users and late results, through the book, units and tally that a live rollout uses.

    `rps` requests a second. A good request takes up to a second; a bad one up to `late_s` seconds.
    """

    def __init__(
        self, random: Random, rates: Rates, *, rps: float, late_s: float, crowd: Crowd | None, bad_from: float = 0.0
    ) -> None:
        self._random, self._rps, self._late, self._crowd = random, rps, max(late_s, 1.0), crowd
        self._rates, self._bad_from = rates, bad_from
        self._gates = [Gate(Bad.ERROR)]
        self._limits = limits_of(self._gates)
        self._book = Book(horizon=self._late + 1, requests=crowd.observed if crowd else 1)
        self._known: dict[str, Unit] = {}
        self._ends: list[tuple[float, str, bool]] = []
        self._sent = 0
        self._people: dict[int, tuple[float, float]] = {}
        self._now = (-1, -1.0)  # epoch and weight
        self._worse: tuple[float | None, float] = (None, 0.0)  # the candidate's rate by stable's, and itself
        self._settled: dict[int, _Visit] = {}  # users of whom nothing more is observed in this epoch

    def send(self, requests: int, weight: float, epoch: int) -> Batch:
        """Send, let end what ends meanwhile, and hand over the blocks that are complete then."""
        self._settle((epoch, weight))
        totals = [0, 0, 0, 0]
        draw, settled, first = self._random.random, self._settled, self._sent
        for number, who in enumerate(self._visitors(requests), first):
            known = settled.get(who)
            candidate, rate, meeting = known or self._visit(who, str(number))
            bad = draw() < rate
            totals[2 * candidate] += 1
            totals[2 * candidate + 1] += bad
            if meeting is not None:
                self._observe(str(number), meeting, number / self._rps, candidate=candidate, bad=bad)
        self._sent += requests
        now = self._sent / self._rps
        while self._ends and self._ends[0][0] <= now:
            _, request, bad = heappop(self._ends)
            self._book.ended(request, _BAD if bad else _GOOD)
        return Batch([tally(self._gates, self._limits, block) for block in self._book.closed(now)], Counts(*totals))

    def _settle(self, now: tuple[int, float]) -> None:
        """Begin an epoch, if it is a new one."""
        if now != self._now:
            self._now = now
            self._settled = {}
            stable, candidate = self._rates.at(now[1], self._bad_from)
            self._worse = candidate / stable if stable else None, candidate

    def _visitors(self, requests: int) -> Sequence[int]:
        """Who sends the next requests; nobody in particular without a crowd."""
        crowd = self._crowd
        if crowd is None:
            return [-1] * requests
        return self._random.choices(range(crowd.users), cum_weights=_zipf(crowd.users, crowd.zipf), k=requests)

    def _observe(self, request: str, meeting: Meeting, at: float, *, candidate: bool, bad: bool) -> None:
        if self._book.started(request, meeting, at, candidate=candidate):
            heappush(self._ends, (at + self._random.random() * (self._late if bad else 1.0), request, bad))

    def _visit(self, who: int, request: str) -> _Visit:
        """The arm, the probability that the request is bad there, and what is observed of it."""
        crowd, (epoch, weight) = self._crowd, self._now
        if crowd is None:
            candidate = self._random.random() * 100 < weight
            return candidate, self._rate(self._rates.stable, candidate=candidate), Meeting(request, epoch)
        person = self._people.get(who)
        if person is None:
            person = self._people[who] = self._person(crowd.evenness)
        candidate = person[1] * 100 < weight
        rate = self._rate(person[0], candidate=candidate)
        if crowd.per_request:
            return candidate, rate, Meeting(request, epoch)
        name = str(who)
        self._known[name], meeting = meet(name, self._known.get(name), epoch, weight, candidate=candidate)
        if meeting is None or meeting.number == crowd.observed:
            self._settled[who] = candidate, rate, None
        return candidate, rate, meeting

    def _rate(self, own: float, *, candidate: bool) -> float:
        ratio, rate = self._worse
        if not candidate:
            return own
        return rate if ratio is None else min(1.0, own * ratio)

    def _person(self, evenness: float) -> tuple[float, float]:
        """A user's own rate of bad requests, and the place in the hash."""
        mean = self._rates.stable
        rate = self._random.betavariate(mean * evenness, (1 - mean) * evenness) if 0 < mean < 1 else mean
        return rate, self._random.random()


_GOOD, _BAD = Result(), Result(error=True)


@lru_cache(16)
def _zipf(users: int, exponent: float) -> tuple[float, ...]:
    """Users' shares of the traffic, added up."""
    return tuple(accumulate(1 / rank**exponent for rank in range(1, users + 1)))


@lru_cache(1024)
def _binomial(n: int, p: float) -> tuple[float, ...]:
    """The distribution function at 0 … n-1: where a uniform number falls is a binomial one."""
    return tuple(accumulate(comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n)))
