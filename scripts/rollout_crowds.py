"""Users, late results and moving weights, a whole run of requests at a time: as `traffic.Lifelike`, for tables.

Who sends what, which of it is observed and which block it falls into is found in arrays and a short loop; the evidence
is the live code's. That blocks and endings are those that the live units, book and tally would give is checked every
time: the requests of the first `CHECKED` runs, and of as many that alarmed, go to these too, and an ending that
differs is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.control.analysis import Analysis
from app.control.blocks import SMALLEST, Book, block_size
from app.control.evariable import Counts
from app.control.gates import limits_of, tally
from app.control.simulate import LEVELS, Trial
from app.control.units import Meeting, Unit, meet
from app.exchange import Result

CHECKED = 3
Array = NDArray[Any]
_PACE, _SPAN = 1.0, 60.0  # the book's own


class Requests(NamedTuple):
    """Requests in the order of their starts; `who` is None where each is its own unit."""

    level: Array
    weight: Array
    who: Array | None
    candidate: Array
    bad: Array
    start: Array
    end: Array


class Seen(NamedTuple):
    """Which requests are observed, by number, and the cohort of each."""

    numbers: Array
    cohorts: Array


class Sealed(NamedTuple):
    """A block: its counts, when it was sealed (requests sent by the next look), and when its last member has ended."""

    counts: Counts
    look: int
    ready: float


def endings(trial: Trial) -> list[float]:
    """The requests until the alarm of each run of a trial with one gate; infinity without one."""
    ended: list[float] = []
    alarmed = 0
    for run in range(trial.first_run, trial.first_run + trial.runs):
        requests = _requests(trial, np.random.default_rng([trial.seed, run]))
        end = _ending(trial, _blocks(trial, requests, _seen(requests)))
        alarmed += end < np.inf
        if len(ended) < CHECKED or (end < np.inf and alarmed <= CHECKED):
            live = _live(trial, requests)
            if live != end:
                raise AssertionError(f"run {run} ends after {end} requests in arrays, after {live} live")
        ended.append(end)
    return ended


def _requests(trial: Trial, random: np.random.Generator) -> Requests:
    count, moves = trial.max_requests, trial.weight_end is not None
    numbers = np.arange(count)
    level = LEVELS * (numbers - numbers % trial.look_every) // count if moves else np.zeros(count, int)
    end = trial.weight if trial.weight_end is None else trial.weight_end
    weight = trial.weight + (end - trial.weight) * level / (LEVELS - 1)
    who, rate = None, np.full(count, trial.stable_rate)
    if trial.crowd is None:
        candidate = random.random(count) * 100 < weight
    else:
        crowd, mean = trial.crowd, trial.stable_rate
        shares = np.cumsum(np.arange(1, crowd.users + 1) ** -crowd.zipf)
        who = np.searchsorted(shares, random.random(count) * shares[-1], side="right")
        rate = random.beta(mean * crowd.evenness, (1 - mean) * crowd.evenness, crowd.users)[who]
        candidate = random.random(crowd.users)[who] * 100 < weight
    worse = np.where(candidate, trial.candidate_rate / trial.stable_rate, 1.0)
    bad = random.random(count) < rate * worse
    start = numbers / trial.rps
    took = random.random(count) * np.where(bad, max(trial.late_s, 1.0), 1.0)
    return Requests(level, weight, who, candidate, bad, start, start + took)


def _seen(requests: Requests) -> Seen:
    """A unit's first request at each weight, as `units.meet` has it."""
    if requests.who is None:
        return Seen(np.arange(len(requests.start)), np.zeros(len(requests.start)))
    users = int(requests.who.max()) + 1
    ceiling, weight = np.zeros(users), np.zeros(users)
    served, excluded = np.zeros(users, bool), np.zeros(users, bool)
    numbers, cohorts = [], []
    for level in range(int(requests.level.max()) + 1):
        own = np.flatnonzero(requests.level == level)
        who, first = np.unique(requests.who[own], return_index=True)
        ceiling[who] = np.maximum(ceiling[who], weight[who])
        excluded[who] |= served[who]
        weight[who], served[who] = requests.weight[own[0]], requests.candidate[own[first]]
        kept = ~excluded[who]
        numbers.append(own[first[kept]])
        cohorts.append(ceiling[who[kept]])
    order = np.argsort(np.concatenate(numbers), kind="stable")
    return Seen(np.concatenate(numbers)[order], np.concatenate(cohorts)[order])


class _Open:
    """A block that is being filled."""

    __slots__ = ("counts", "last", "opened", "ready", "size")

    def __init__(self, at: float) -> None:
        self.opened = self.last = at
        self.size, self.ready, self.counts = 0, 0.0, [0, 0, 0, 0]

    def full(self, now: float) -> bool:
        """As the book says."""
        age = now - self.opened
        return age >= _SPAN or (age >= _PACE and self.size >= SMALLEST)


def _blocks(trial: Trial, requests: Requests, seen: Seen) -> Iterator[Sealed]:
    """Blocks in the order in which the book would seal them."""
    filling: dict[tuple[int, float], _Open] = {}
    horizon = max(trial.late_s, 1.0) + 1

    def seal(key: tuple[int, float], look: int) -> Sealed:
        block = filling.pop(key)
        return Sealed(Counts(*block.counts), look, min(block.ready, block.last + horizon))

    numbers = seen.numbers
    rows = zip(
        zip(requests.level[numbers].tolist(), seen.cohorts.tolist(), strict=True),
        (2 * requests.candidate[numbers]).tolist(),
        requests.bad[numbers].tolist(),
        requests.start[numbers].tolist(),
        requests.end[numbers].tolist(),
        strict=True,
    )
    looks = range(trial.look_every, trial.max_requests + 1, trial.look_every)
    met = 0
    for look, until in zip(looks, np.searchsorted(numbers, looks).tolist(), strict=True):
        for _ in range(until - met):
            key, arm, bad, start, end = next(rows)
            block = filling.get(key)
            if block is not None and block.full(start):
                yield seal(key, look)
                block = None
            if block is None:
                block = filling[key] = _Open(start)
            block.counts[arm] += 1
            block.counts[arm + 1] += bad
            block.size += 1
            block.last, block.ready = start, max(block.ready, end)
            met += 1
            if block.size >= block_size(met):
                yield seal(key, look)
        now = look / trial.rps
        for key in [key for key, block in filling.items() if block.full(now)]:
            yield seal(key, look)


def _ending(trial: Trial, blocks: Iterator[Sealed]) -> float:
    """The requests sent when the alarm is raised: blocks are handed over in their order, at looks."""
    analysis, handed = Analysis(trial.gates, trial.alpha, intervals=False), 0
    for block in blocks:
        ready = int(np.ceil(round(block.ready * trial.rps / trial.look_every, 9))) * trial.look_every
        handed = max(handed, block.look, ready)
        if handed > trial.max_requests:
            break
        analysis.observe([block.counts])
        if analysis.alarm:
            return float(handed)
    return float("inf")


def _live(trial: Trial, requests: Requests) -> float:
    """The same by the live code."""
    analysis, limits = Analysis(trial.gates, trial.alpha, intervals=False), limits_of(trial.gates)
    late = max(trial.late_s, 1.0)
    book, known = Book(horizon=late + 1), dict[str, Unit]()
    running: list[tuple[float, str, bool]] = []
    for number, (level, weight, candidate, bad, start, end) in enumerate(
        zip(
            *(part.tolist() for part in (requests.level, requests.weight, requests.candidate, requests.bad)),
            requests.start.tolist(),
            requests.end.tolist(),
            strict=True,
        )
    ):
        name, meeting = str(number), None
        if requests.who is None:
            meeting = Meeting(name, level)
        else:
            user = str(requests.who[number])
            known[user], meeting = meet(user, known.get(user), level, weight, candidate=candidate)
        if meeting is not None and book.started(name, meeting, start, candidate=candidate):
            running.append((end, name, bad))
        if (number + 1) % trial.look_every:
            continue
        now = (number + 1) / trial.rps
        for one in [one for one in running if one[0] <= now]:
            book.ended(one[1], Result(error=one[2]))
        running = [one for one in running if one[0] > now]
        for block in book.closed(now):
            analysis.observe(tally(trial.gates, limits, block))
        if analysis.alarm:
            return float(number + 1)
    return float("inf")
