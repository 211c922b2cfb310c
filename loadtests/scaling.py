"""What `scale` makes of what it saw: arithmetic alone, no clock, no process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadtests.stats import quantile


@dataclass(frozen=True, slots=True)
class Used:
    """CPU seconds of everybody, so far or in between (`minus`).

    `gateway` is all of its processes, `workers` each of those that serve. `load` is generator and upstream, `services`
    databases, Redis and collector, `redis` the part of them that is Redis, `machine` everything that ran, and `calls`
    the scripts that Redis was asked to run.
    """

    gateway: float
    workers: tuple[float, ...]
    load: float
    services: float
    redis: float
    machine: float
    calls: int

    def minus(self, before: Used) -> Used:
        """What was used since then."""
        return Used(
            self.gateway - before.gateway,
            tuple(now - then for now, then in zip(self.workers, before.workers, strict=True)),
            self.load - before.load,
            self.services - before.services,
            self.redis - before.redis,
            self.machine - before.machine,
            self.calls - before.calls,
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """One load on one gateway: `requests` in `seconds`, `used` meanwhile on `cores`.

    `cpu` is the gateway's CPU seconds with what it put off, `p99` seconds of an answer.
    """

    requests: int
    seconds: float
    cores: int
    used: Used
    cpu: float
    p99: float

    @property
    def per_second(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    @property
    def request_us(self) -> float:
        """Microseconds of the gateway's CPU for a request."""
        return self.cpu / self.requests * 1e6

    @property
    def redis_us(self) -> float:
        """Microseconds of Redis' CPU for a request."""
        return self.used.redis / self.requests * 1e6

    @property
    def calls(self) -> float:
        """Script calls in Redis for a request."""
        return self.used.calls / self.requests

    @property
    def busy(self) -> float:
        """The share of the machine's CPU that was used by anybody."""
        return self.share(self.used.machine)

    @property
    def strangers(self) -> float:
        """The share of the machine's CPU that was used by nobody of this run."""
        return self.share(max(0.0, self.used.machine - self.used.gateway - self.used.load - self.used.services))

    def share(self, seconds: float) -> float:
        """CPU seconds as a share of the machine's."""
        return seconds / (self.seconds * self.cores)

    def spread(self) -> list[float]:
        """The share of the workers' CPU that each of them used, the busiest first."""
        return sorted((one / sum(self.used.workers) for one in self.used.workers), reverse=True)


def capacity(cores: int, sample: Sample) -> float:
    """Requests a second of the gateway on so many cores of its own: a core carries one over the CPU of a request."""
    return cores * 1e6 / sample.request_us


def scaling(workers: int, one: Sample, many: Sample) -> float:
    """How many times one worker's requests the workers carry on as many cores.

    The share of the machine that generator, upstream and services took does not enter: it is the ratio of capacities.
    """
    return capacity(workers, many) / capacity(1, one)


Row = tuple[str, Callable[[Sample], float], int]
"""A label, what stands in its cells, and with how many digits."""

ROWS: tuple[Row, ...] = (
    ("requests/s", lambda one: one.per_second, 0),
    ("CPU per request, µs", lambda one: one.request_us, 1),
    ("answer p99, ms", lambda one: one.p99 * 1e3, 2),
    ("the gateway's share of all cores, %", lambda one: one.share(one.used.gateway) * 100, 0),
    ("generator's and upstream's, %", lambda one: one.share(one.used.load) * 100, 0),
    ("databases', Redis' and collector's, %", lambda one: one.share(one.used.services) * 100, 0),
    ("strangers', %", lambda one: one.strangers * 100, 0),
    ("all cores busy, %", lambda one: one.busy * 100, 0),
    ("the busiest worker's part of the workers' CPU, %", lambda one: one.spread()[0] * 100, 0),
    ("the idlest worker's, %", lambda one: one.spread()[-1] * 100, 0),
)
REDIS: tuple[Row, ...] = (
    ("script calls in Redis per request", lambda one: one.calls, 3),
    ("Redis' CPU per request, µs", lambda one: one.redis_us, 2),
)


def ranged(values: Sequence[float], digits: int) -> str:
    """Median and range."""
    return f"{quantile(values, 0.5):.{digits}f} [{min(values):.{digits}f}–{max(values):.{digits}f}]"


def table(columns: dict[str, list[Sample]], rows: Sequence[Row]) -> str:
    """The samples of each column, a row for each figure."""
    lines = [f"| | {' | '.join(columns)} |", f"|---|{'--:|' * len(columns)}"]
    for label, figure, digits in rows:
        cells = [ranged([figure(one) for one in samples], digits) for samples in columns.values()]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def verdict(name: str, workers: int, one: Sequence[Sample], many: Sequence[Sample]) -> str:
    """How a gateway scales, over the pairs of the rounds."""
    pairs = list(zip(one, many, strict=True))
    scaled = [scaling(workers, first, second) for first, second in pairs]
    plain = [second.per_second / first.per_second for first, second in pairs]
    own = quantile([capacity(workers, one) for one in many], 0.5)
    return (
        f"{name}: {workers} workers carry {ranged(scaled, 2)} times what one does, the others' share accounted for "
        f"({own:.0f} requests/s on {workers} cores of their own); requests/s beside them: {ranged(plain, 2)} times"
    )


@dataclass(frozen=True, slots=True)
class Spent:
    """A budget that callers of all workers used up. Tokens; `first` had been charged when somebody was first refused.

    `asked` is the bound of a request, `answered` what the answers together say they used, `unfounded` counts refusals
    that say themselves that the request would have fitted.
    """

    limit: int
    asked: int
    used: int
    answered: int
    first: int
    refusals: int
    unfounded: int

    def faults(self) -> list[str]:
        """What is not as it is promised."""
        found = []
        if self.used > self.limit:
            found.append(f"{self.used} tokens were charged to a budget of {self.limit}")
        if self.used != self.answered:
            found.append(f"{self.used} tokens were charged, the answers used {self.answered}")
        if self.limit - self.used >= self.asked:
            found.append(f"refused while {self.limit - self.used} tokens are left: a request may take {self.asked}")
        if self.unfounded:
            found.append(f"{self.unfounded} refusals of requests that the budget still covered")
        return found

    def text(self) -> str:
        """For people."""
        return (
            f"a budget used up: {self.used} of {self.limit} tokens charged ({self.used / self.limit:.2%}), "
            f"{self.answered} answered; first refused at {self.first / self.limit:.1%}; {self.refusals} refusals, "
            f"{self.unfounded} of them while the bound of {self.asked} still fitted"
        )
