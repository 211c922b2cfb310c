"""A fleet of workers before one Redis, on measured service times: what each asks of it, and where it saturates.

    python -m loadtests.fleet [--calls 20000] [--seconds 9] [--rate 50] [--per-host 4] [--duration 2]

Redis' CPU for each kind of call is measured (`service.py`), and a worker's for a request; `saturation.py` makes a fleet
of them. Then the stores of one, two and four workers are held against the model: where every request asks, where few
do, where requests under way leave no room in the slices, and where each worker is a host of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count

import uvloop

from app.metering import Allowances, Budget, Charge, Claim, Limit, Measure, Scope, ScopeKind
from app.stores.redis import arguments
from loadtests import cpu, saturation, scale
from loadtests.saturation import Cost, Fleet, Kind, Service, load, workers_at
from loadtests.server import stoppable
from loadtests.service import BOUND, SPENT, Bench, Worker, budgets, workers
from loadtests.stats import quantile
from tests.support.redis import Redis

SIZES = (1, 10, 100, 300, 1000)
"""Workers of the table."""
RATES = (10.0, 50.0, 200.0)
"""Requests a second of a worker for which it is said where Redis saturates; at full load beside them."""
BUSY = (0.7, 1.0)
TOLD = 100
"""Budgets whose levels stand in the metrics."""
IN_FLIGHT = 1024
"""Requests that a worker serves at a time, as it comes."""
_DAY = 86_400.0
_ALL = 10**9
_LINES = 16
"""Connections that ask at once while service times are measured."""
_PAUSE_S = 0.001
"""After which a server sleeps."""
_BEGIN_S = 1.0
_GATEWAY_S = 3.0


@dataclass(frozen=True, slots=True)
class Times:
    """What was measured. `waiting`: Redis finds calls of many connections; `woken`: it sleeps before each call.

    `idle` is its CPU in seconds a second while nobody asks, `turn` how long a settlement is under way, `request` a
    worker's CPU seconds for a request.
    """

    waiting: Service
    woken: Service
    idle: float
    turn: float
    request: float


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of traffic: the model's scopes at the spending of all workers, and how long a request takes, in seconds.

    `per_host` workers know of each other; None: as many as the host is said to have.
    """

    name: str
    scopes: tuple[saturation.Scope, ...]
    seconds: float = 0.0
    per_host: int | None = None

    def fleet(self, many: int, per_host: int, rate: float, turn: float) -> Fleet:
        """So many workers."""
        known = per_host if self.per_host is None else self.per_host
        return Fleet(many, min(many, known), rate, self.scopes, self.seconds, turn)


def day(rows: int, left: float = 1.0) -> saturation.Scope:
    """Budgets that last a day from the full, of which so much is left."""
    return saturation.Scope(_DAY, rows=rows, bound=BOUND, left=left)


def minute(lasts: float) -> saturation.Scope:
    """Tokens a minute; 120 seconds are twice the traffic."""
    return saturation.Scope(lasts, Kind.RATE, bound=BOUND)


CHECKED = (
    Case("every request asks", (day(4, left=0.09),)),
    Case("large budgets", (day(4),)),
    Case("large budgets, a rate of twice the traffic", (day(3), minute(120))),
    Case("budgets of a minute, requests of 0.2 s", (saturation.Scope(60.0, rows=4, bound=BOUND),), 0.2),
    Case("large budgets, each worker a host", (day(4),), per_host=1),
)
"""What stores are held against the model with."""


def typical(seconds: float) -> tuple[Case, ...]:
    """What the table tells of; requests take so long."""
    places = saturation.Scope(10 * seconds, Kind.PLACES)
    return (
        Case("large budgets", (day(4),), seconds),
        Case("large budgets, a rate of twice the traffic", (day(3), minute(120)), seconds),
        Case("large budgets, ten times the places taken", (day(3), places), seconds),
        Case("budgets near their end: every request asks", (day(4, left=0.09),), seconds),
        Case("large budgets, if all workers knew of each other", (day(4),), seconds, per_host=_ALL),
    )


# --- the model held against stores that run ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seen:
    """What stores did: script calls of Redis for a request, the share that waited for one, Redis' CPU seconds a second.

    `own` is the client's CPU for a request in seconds, this generator's part included.
    """

    trips: float
    asking: float
    busy: float
    own: float


def held(scopes: Iterable[saturation.Scope], spending: float) -> tuple[Allowances, int]:
    """Budgets and limits that last as told at so many requests a second, and the tokens that are used of them."""
    windows: list[Budget] = []
    limits: list[Limit] = []
    used = 0.0
    for number, scope in enumerate(scopes):
        limit = scope.lasts * spending
        if scope.kind is Kind.WINDOW:
            windows += budgets(scope.rows, int(limit * SPENT), f"{number}.").budgets
            used = max(used, (1 - scope.left) * limit * SPENT)
        else:
            measure, amount = (
                (Measure.TOKENS, limit * SPENT) if scope.kind is Kind.RATE else (Measure.CONCURRENT, limit)
            )
            limits.append(Limit(Scope(ScopeKind.TENANT, f"{number}."), measure, int(amount)))
    return Allowances(tuple(windows), tuple(limits)), int(used)


class Callers:
    """Callers of one worker: requests at random times, `rate` a second on the average, that take `seconds`."""

    def __init__(self, one: Worker, allowances: Allowances, rate: float, seconds: float, ids: Iterator[str]) -> None:
        self._store, self._allowances = one.store, allowances
        self._rate, self._seconds, self._ids = rate, seconds, ids
        self._random = random.Random(rate)
        self._running: set[asyncio.Task[None]] = set()
        self.sent = self.asked = self.refused = 0

    async def call(self, seconds: float) -> None:
        """For so long; then wait for those that are still asking."""
        time_of = asyncio.get_running_loop().time
        self.sent = self.asked = 0
        due, end = time_of(), time_of() + seconds
        while (due := due + self._random.expovariate(self._rate)) < end:
            if due > (now := time_of()):
                await asyncio.sleep(due - now)
            self._request(Claim(next(self._ids), self._allowances, Charge(BOUND * SPENT, 0), sent=True))
        await asyncio.gather(*self._running)

    def _request(self, claim: Claim) -> None:
        """In a task of its own, as in the gateway."""
        self.sent += 1
        task = asyncio.create_task(self._take(claim), name="fleet: a request")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _take(self, claim: Claim) -> None:
        verdict = self._store.at_once(claim)
        if verdict is None:
            self.asked += 1
            verdict = await self._store.reserve(claim)
        if verdict.refused is None:
            self._taken(claim)
        else:
            self.refused += 1

    def _taken(self, claim: Claim) -> None:
        spent = Charge(SPENT, 0)
        if self._seconds:
            asyncio.get_running_loop().call_later(self._seconds, self._store.settle, claim.id, spent)
        else:
            self._store.settle(claim.id, spent)


async def see(case: Case, many: int, rate: float, seconds: float) -> Seen:
    """So many workers' stores for a while, on a Redis of their own; how they begin is not counted."""
    with Redis() as server:
        async with workers(server, many, case.per_host or many) as crew:
            allowances, used = held(case.scopes, rate * many)
            await use(crew[0], allowances, used)
            ids = map(str, count())
            callers = [Callers(one, allowances, rate, case.seconds, ids) for one in crew]
            await asyncio.gather(*(one.call(min(_BEGIN_S, seconds)) for one in callers))
            busy, trips = cpu.cpu_seconds([server.pid]), scale.script_calls(server)
            own, begun = time.process_time(), time.perf_counter()
            await asyncio.gather(*(one.call(seconds) for one in callers))
            own, took = time.process_time() - own, time.perf_counter() - begun
            busy, trips = cpu.cpu_seconds([server.pid]) - busy, scale.script_calls(server) - trips
            await asyncio.sleep(case.seconds)
    if any(one.refused for one in callers):
        raise AssertionError("a budget refused what it covers")
    sent, asked = sum(one.sent for one in callers), sum(one.asked for one in callers)
    return Seen(trips / sent, asked / sent, busy / took, own / sent)


async def use(one: Worker, allowances: Allowances, tokens: int) -> None:
    """Use up so much of every budget."""
    if tokens:
        whole = Charge(tokens, 0)
        await one.store.reserve(Claim("used", allowances, whole, sent=True))
        one.store.settle("used", whole)
        await one.store.flush()


async def turn_of(one: Worker) -> float:
    """Seconds that a settlement is under way, from a worker that does nothing else: the median."""
    took = []
    for number in range(100):
        begun = time.perf_counter()
        await one.line.run(*arguments(b"settle", one.line.epoch, b"1", b"none%d" % number, b"0", b"0"))
        took.append(time.perf_counter() - begun)
        await asyncio.sleep(0.002)
    return quantile(took, 0.5)


async def compared(args: argparse.Namespace, times: Times) -> str:
    """Modelled and seen side by side."""
    lines = [
        f"Modelled, and seen beside it, {args.check_rate:g} requests/s of each worker:\n",
        "| | workers | asks, % | seen | script calls a request | seen | Redis busy, % | woken | seen | own µs |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for case in CHECKED:
        for many in map(int, args.check_workers.split(",")):
            found = await see(case, many, args.check_rate, args.seconds)
            fleet = case.fleet(many, many, args.check_rate, times.turn)
            least, most = load(fleet, times.waiting), load(fleet, times.woken)
            calls = least.trips + saturation.REAPS / args.check_rate
            cells = (
                f"{least.asking * 100:.1f} | {found.asking * 100:.1f} | {calls:.3f} | {found.trips:.3f}",
                *(f"{busy * 100:.2f}" for busy in (least.busy + times.idle, most.busy + times.idle, found.busy)),
            )
            lines.append(f"| {case.name} | {many} | {' | '.join(cells)} | {found.own * 1e6:.0f} |")
    return "\n".join(lines)


# --- the fleet ---------------------------------------------------------------------------------------


def told(times: Times) -> str:
    """What was measured, for people; microseconds."""
    names: tuple[tuple[str, str, Callable[[Service], Cost]], ...] = (
        ("reserve", "row", lambda one: one.reserve),
        ("settle", "", lambda one: one.settle),
        ("a reservation in it", "row", lambda one: one.ended),
        ("draw", "slice", lambda one: one.draw),
        ("renew", "lease", lambda one: one.renew),
        ("levels", "budget", lambda one: one.levels),
        ("reap", "", lambda one: one.reap),
        ("read the epoch", "", lambda one: one.poll),
    )
    lines = ["| Redis' CPU, µs | calls waiting | and for each | woken for each call | and for each |"]
    lines.append("|---|--:|--:|--:|--:|")
    for name, each, cost_of in names:
        costs = [cost_of(times.waiting), cost_of(times.woken)]
        cells = [f"{cost.base * 1e6:.1f} | {f'{each} {cost.each * 1e6:.2f}' if each else ''}" for cost in costs]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    rest = f"Idle it is {times.idle * 100:.2f} % busy. A settlement is under way for {times.turn * 1e6:.0f} µs."
    worker = f"A worker's CPU for a request: {times.request * 1e6:.0f} µs; at most {1 / times.request:.0f} requests/s."
    return "\n".join([*lines, "", rest, worker])


def table(args: argparse.Namespace, times: Times) -> str:
    """What each size of fleet makes of Redis."""
    lines = [
        f"{args.rate:g} requests/s of each worker, {args.duration:g} s each, hosts of {args.per_host} workers:\n",
        "| | workers | asks, % | script calls a request | calls/s | Redis busy, % | wait, µs | p99, µs |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for case in typical(args.duration):
        for many in SIZES:
            one = load(case.fleet(many, args.per_host, args.rate, times.turn), times.waiting, TOLD)
            waits = (one.wait, one.wait_of(0.99)) if one.busy < 1 else (math.inf, math.inf)
            lines.append(
                f"| {case.name} | {many} | {one.asking * 100:.0f} | {one.trips:.3f} | {one.calls:.0f} "
                f"| {one.busy * 100:.1f} | {_us(waits[0])} | {_us(waits[1])} |"
            )
    return "\n".join(lines)


def _us(seconds: float) -> str:
    return "grows" if math.isinf(seconds) else f"{seconds * 1e6:.0f}"


def saturates(case: Case, per_host: int, rate: float, times: Times) -> str:
    """Where Redis is as busy as it should ever be, and where it cannot follow; hosts are as many as it takes."""
    fleet = replace(case.fleet(_ALL, per_host, rate, times.turn), workers=1)
    high, full = (workers_at(busy, fleet, times.waiting, TOLD) for busy in BUSY)
    if full >= saturation.MOST_WORKERS:
        return f"{rate:.0f}/s: never"
    return f"{rate:.0f}/s: 70 % busy with {high} workers, saturated with {full} ({full * rate:.0f} requests/s)"


def sentences(args: argparse.Namespace, times: Times) -> str:
    """For each kind of traffic, at some rates of a worker and at its highest."""
    most = min(1 / times.request, IN_FLIGHT / args.duration if args.duration else math.inf)
    lines = ["Where Redis saturates, by what each worker is asked:\n"]
    for case in typical(args.duration):
        several = [saturates(case, args.per_host, rate, times) for rate in (*RATES, most)]
        lines.append(f"- {case.name}: " + "; ".join(several))
    return "\n".join(lines)


# --- the script --------------------------------------------------------------------------------------


async def measured(calls: int, request: float) -> Times:
    """Service times with many connections and with one, and how long a settlement is under way."""
    with Redis() as server:
        async with workers(server, _LINES, 1) as crew:
            waiting = await Bench(server, crew, calls).measure()
    with Redis() as server:
        async with workers(server, 1, 1) as crew:
            woken = await Bench(server, crew, calls // 20, _PAUSE_S).measure()
            turn = await turn_of(crew[0])
        before = cpu.cpu_seconds([server.pid])
        await asyncio.sleep(_BEGIN_S)
        idle = (cpu.cpu_seconds([server.pid]) - before) / _BEGIN_S
    return Times(waiting, woken, idle, turn, request)


async def request_of() -> float:
    """CPU seconds of a worker with everything on for a request."""
    with ExitStack() as stack:
        running = scale.Stage(stack).everything(1)
        shots = [running.shot("load")]
        await scale.load(running, shots, 32, 1.0)
        return (await scale.load(running, shots, 32, _GATEWAY_S)).request_us / 1e6


async def run(args: argparse.Namespace) -> None:
    """Measure, compare, foretell."""
    times = await measured(args.calls, args.request_us / 1e6 if args.request_us else await request_of())
    print(told(times), "\n", flush=True)
    print(await compared(args, times), "\n", flush=True)
    print(table(args, times), "\n\n", sentences(args, times), sep="", flush=True)


def arguments_of(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="fleet", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--calls", type=int, default=20_000, help="of each kind, to measure service times (20000)")
    parser.add_argument("--request-us", type=float, default=0, help="a worker's CPU for a request (measured)")
    parser.add_argument("--seconds", type=float, default=9, help="each comparison: as long as a slice is used (9)")
    parser.add_argument("--check-rate", type=float, default=400, help="requests/s of a worker in a comparison (400)")
    parser.add_argument("--check-workers", default="1,2,4", help="how many of them (1,2,4)")
    parser.add_argument("--rate", type=float, default=50, help="the same in the table (50)")
    parser.add_argument("--per-host", type=int, default=4, help="workers of a host in the table (4)")
    parser.add_argument("--duration", type=float, default=2, help="seconds of a request in the table (2)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Print what was found."""
    with stoppable(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(arguments_of(argv)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
