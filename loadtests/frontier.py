"""The throughput frontier: the highest rate of requests at which p99 of whole answers keeps to a bound.

An open loop asks at fixed rates, one step after the other, from 30 % of what the gateway did at full load upwards.
Times count from when a request was due, so that one that had to wait for a connection is not spared.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat
from time import perf_counter

from loadtests.client import Kept, Paced, Target
from loadtests.line import Answer, Shot
from loadtests.stats import quantile

SHARES = (0.3, 0.5, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05)
"""The rates, as shares of full load's. A closed loop's throughput is not quite the most: hence the last."""
ENOUGH = 100
"""Requests that a step needs: below a hundred p99 is the slowest of all."""
LONGEST_S = 4.0
"""Seconds of a slow gateway's step; a rate that gives not enough requests even so is not asked."""
HELD = 0.98
"""The part of the rate that must be achieved."""
TRIES = 2
"""A rate that fails is asked again before the sweep ends: one stall of 10 ms is 1 % of a second's requests."""
CONNECTIONS = 128
"""As many as answer 25 000 requests a second in 5 ms each; who finds none free waits, and that counts."""
_GRACE_S = 1.0


@dataclass(frozen=True, slots=True)
class Job:
    """What is asked, and what is right."""

    target: Target
    shot: Shot
    check: Callable[[Answer], str | None]


@dataclass(frozen=True, slots=True)
class Step:
    """One rate, asked for some seconds.

    `rate` and `achieved` are requests a second: asked, and answered between the first and the last answer. `fault` says
    what was wrong, where not every request got its right answer.
    """

    rate: float
    requests: int
    achieved: float
    p99_ms: float
    fault: str | None

    def keeps(self, bound_ms: float) -> bool:
        """Whether the rate counts, and its p99 is not above the bound."""
        return self.fault is None and self.achieved >= HELD * self.rate and self.p99_ms <= bound_ms


@dataclass(frozen=True, slots=True)
class Frontier:
    """Requests a second with p99 within 5, 10 and 50 ms; 0 where not even the lowest rate kept to it."""

    within_5_ms: float
    within_10_ms: float
    within_50_ms: float
    steps: list[Step]


def planned(full: float, seconds: float) -> list[tuple[float, float]]:
    """Rates and how many seconds each is asked: `seconds`, or longer until there are enough requests for a p99."""
    rates = [full * share for share in SHARES if full * share * LONGEST_S >= ENOUGH]
    return [(rate, max(seconds, ENOUGH / rate)) for rate in rates]


def frontier(steps: Sequence[Step]) -> Frontier:
    """The highest rates that kept to the bounds, whatever slower ones did: a stall is the machine's more often."""
    five, ten, fifty = (max((step.rate for step in steps if step.keeps(bound)), default=0.0) for bound in (5, 10, 50))
    return Frontier(five, ten, fifty, list(steps))


async def sweep(job: Job, full: float, seconds: float, most: float) -> Frontier:
    """Rates upwards, until one keeps to 50 ms in none of its tries or the next would end after `most` seconds.

    `full` is the throughput at full load; a step takes `seconds`, those of slow gateways longer.
    """
    until = perf_counter() + most
    steps: list[Step] = []
    for rate, length in planned(full, seconds):
        for _ in range(TRIES):
            if perf_counter() + length > until:
                return frontier(steps)
            steps.append(await _ask(job, rate, length))
            if steps[-1].keeps(50):
                break
        else:
            break
    return frontier(steps)


async def _ask(job: Job, rate: float, seconds: float) -> Step:
    kept = Kept()
    load = Paced(job.target, repeat(job.shot), kept, seconds=seconds, rate=rate, grace=_GRACE_S)
    gc.collect()
    gc.disable()  # a collection in the generator would be a latency of the gateway's
    try:
        ran = await load.run(CONNECTIONS)
    except OSError as error:
        return Step(rate, 0, 0.0, 0.0, f"cannot connect: {error}")
    finally:
        gc.enable()
    return judged(rate, ran.sent, kept.answers, job.check)


def judged(rate: float, sent: int, answers: Sequence[Answer], check: Callable[[Answer], str | None]) -> Step:
    """What a step's answers come to."""
    ends = [answer.began + answer.seconds for answer in answers]
    span = max(ends, default=0.0) - min(ends, default=0.0)
    fault = next((fault for answer in answers if (fault := check(answer)) is not None), None)
    p99 = quantile([answer.seconds for answer in answers], 0.99) * 1e3
    return Step(rate, sent, (len(ends) - 1) / span if span else 0.0, p99, fault)
