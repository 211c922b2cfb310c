"""One gateway measured once: warm-up, full load, one caller alone, long streams, short streams, a sweep of rates.

CPU is that of all the gateway's processes between the first request of a phase and its last answer. The checks of
the answers run after the clock has stopped.
"""

from __future__ import annotations

import asyncio
import gc
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson

from loadtests import cpu
from loadtests.awake import awake
from loadtests.client import Kept, Load, Ran, Target
from loadtests.frontier import Frontier, Job, sweep
from loadtests.line import Answer, Shot
from loadtests.server import Server
from loadtests.stats import quantile
from loadtests.workload import (
    BRIEF,
    BRIEF_MODEL,
    STREAM_MODEL,
    TOKENS,
    WHOLE_MODEL,
    Door,
    StreamCheck,
    again,
    chat,
    check_whole,
)

Check = Callable[[Answer], str | None]


class WrongAnswerError(Exception):
    """A gateway did not answer as it should; its figures would mean nothing."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is asked in each phase. A gateway that is not through after `seconds` is measured on what it did.

    The sweep for the frontier asks each rate for `step` seconds and ends after `sweep`. `rest` is how many seconds
    nobody asks once all rounds are over, before memory is looked at again.
    """

    warm: int = 1000
    requests: int = 10000
    connections: int = 32
    alone: int = 1000
    streams: int = 256
    open_streams: int = 32
    briefs: int = 1024
    first_alone: int = 300
    streams_alone: int = 16
    seconds: float = 6.0
    step: float = 1.0
    sweep: float = 12.0
    rest: float = 15.0


QUICK = Plan(
    warm=200,
    requests=2000,
    alone=200,
    streams=64,
    briefs=128,
    first_alone=25,
    streams_alone=4,
    seconds=3.0,
    step=0.4,
    sweep=5.0,
    rest=3.0,
)


@dataclass(frozen=True, slots=True)
class Subject:
    """A gateway that runs: where it takes requests, and its process, None for the upstream itself."""

    door: Door
    server: Server | None

    def cpu(self) -> float:
        """Seconds so far."""
        return 0.0 if self.server is None else cpu.cpu_seconds(self.server.pids())

    def memory(self) -> int:
        """Bytes now, shared pages in proportion."""
        return 0 if self.server is None else cpu.memory(self.server.pids()).pss

    def pause(self) -> None:
        """Have it stand still, so that it takes nothing from who is measured."""
        if self.server is not None:
            self.server.pause()

    def resume(self) -> None:
        """Have it go on; it answers again."""
        if self.server is not None:
            self.server.resume()


@dataclass(frozen=True, slots=True)
class Phase:
    """One load on one gateway. CPU seconds: `cpu` is what the gateway took for it, `during` and `machine` while it ran.

    `during` is the gateway's part, `machine` that of everything.
    """

    ran: Ran
    cpu: float
    during: float
    machine: float
    answers: list[Answer]


@dataclass(frozen=True, slots=True)
class Ask:
    """What one phase asks: `shot` so many times over so many connections, which begin `spread` seconds apart."""

    shot: Shot
    check: Check
    spread: float = 0.0


_LOOK_S = 0.3
_QUIET_S = 0.006
_MOST_LOOKS = 20


async def settled(subject: Subject) -> float:
    """The gateway's CPU seconds once it is done with what it put off: rows for a ledger, lines, spans.

    What a load causes belongs to it, not to the next one. Quiet is less than 2 % of a core for longer than any of them
    gathers what it writes.
    """
    used = subject.cpu()
    for _ in range(_MOST_LOOKS if subject.server is not None else 0):
        await asyncio.sleep(_LOOK_S)
        now = subject.cpu()
        if now - used < _QUIET_S:
            break
        used = now
    return used


async def drive(subject: Subject, ask: Ask, count: int, connections: int, seconds: float) -> Phase:
    """A closed loop; raises `WrongAnswerError` unless every answer is right."""
    kept = Kept()
    target = Target(subject.door.host, subject.door.port)
    load = Load(target, again(ask.shot, count), kept, seconds=seconds, spread=ask.spread)
    gc.collect()
    gc.disable()  # a collection in the generator would be a latency of the gateway's
    try:
        before, busy = subject.cpu(), cpu.machine().busy
        ran = await load.run(connections)
        during, busy = subject.cpu() - before, cpu.machine().busy - busy
        used = await settled(subject) - before
    finally:
        gc.enable()
    if faults := kept.faults(ask.check):
        raise WrongAnswerError(f"{len(faults)} of {ran.sent} answers are wrong; the first: {faults[0]}")
    for answer in kept.answers:
        answer.body = b""
    return Phase(ran, used, during, busy, kept.answers)


@dataclass(frozen=True, slots=True)
class Alone:
    """Milliseconds with one request under way at a time.

    For a whole answer, for a stream's first event, and for a stream's piece from the upstream's write to the caller.
    The first piece is the first event's, and the last stands apart: what a guard has held back comes with it.
    """

    whole_p50_ms: float
    whole_p99_ms: float
    first_p50_ms: float
    first_p99_ms: float
    chunk_p50_ms: float
    chunk_p99_ms: float
    last_p50_ms: float
    last_p99_ms: float


@dataclass(frozen=True, slots=True)
class Costs:
    """Microseconds of CPU: of the full load over its requests, of the long streams over their chunks of text."""

    request_us: float
    chunk_us: float


@dataclass(frozen=True, slots=True)
class Figures:
    """One gateway in one round. Microseconds (`_us`) of CPU, milliseconds (`_ms`) of latency, bytes of memory.

    `alone` is with cores that halt when idle, `awake` with cores that do not (None where the system forbids that);
    likewise `halting` and `polling`: who writes to a core that halts pays for waking it, on a virtual machine dearly.

    `cpu_chunk_only_us` and `cpu_stream_us` split a chunk's: the slope and the intercept of the line through the long
    and the short streams.
    `busy` is the share of its core that the gateway used at full load: where it is well below 1 the generator or
    the upstream was the bottleneck, and `per_second` is a lower bound. `foreign` is the share of the machine's
    busy time in that phase that belonged to neither gateway, upstream nor generator.
    """

    halting: Costs
    polling: Costs | None
    per_second: float
    busy: float
    foreign: float
    loaded_p50_ms: float
    loaded_p99_ms: float
    alone: Alone
    awake: Alone | None
    cpu_chunk_only_us: float
    cpu_stream_us: float
    stream_ms: float
    memory: int
    generator_us: float
    frontier: Frontier


_MOST_AHEAD = 4


def delays(writes: Sequence[float], arrivals: Sequence[float], counts: Sequence[int]) -> list[float]:
    """How long each piece was under way, from the upstream's write of the last event that it brought.

    `counts` are events so far. Some come ahead of the first write's own (the role, or what a gateway adds), and what is
    held back comes an event later: so many are left out of account as let nothing arrive before it was written. What
    brings none of a write (`[DONE]` by itself) is no such piece.
    """
    found: list[float] = []
    for ahead in range(_MOST_AHEAD + 1):
        places = [min(max(count - ahead, 1), len(writes)) - 1 for count in counts]
        pieces = zip(arrivals, places, [-1, *places], strict=False)
        found = [arrival - writes[place] for arrival, place, before in pieces if place > before]
        if min(found) >= 0:
            break
    return found


def last_writes(upstream: Server, count: int) -> list[list[float]]:
    """When the upstream wrote the pieces of its last streams, by the clock that the generator reads too."""
    with urllib.request.urlopen(upstream.at("/_control/log")) as log:
        clocked = [record["writes"] for record in orjson.loads(log.read()) if record["writes"] is not None]
    return clocked[-count:]


@dataclass(frozen=True, slots=True)
class Asks:
    """A whole answer, a stream of four chunks, one of sixty-four."""

    whole: Ask
    brief: Ask
    long: Ask


def asks(door: Door) -> Asks:
    """What this gateway is asked."""
    # Paced streams that all began at once would stay in step.
    short = chat(BRIEF_MODEL, stream=True, max_tokens=BRIEF)
    return Asks(
        Ask(door.shot(chat(WHOLE_MODEL, stream=False), kind="whole"), check_whole),
        Ask(door.shot(short, kind="brief stream"), StreamCheck(BRIEF), 0.002),
        Ask(door.shot(chat(STREAM_MODEL, stream=True), kind="stream"), StreamCheck(TOKENS), 0.002),
    )


async def _alone(subject: Subject, upstream: Server, plan: Plan) -> Alone:
    """One request at a time."""
    ask, limit = asks(subject.door), plan.seconds
    single = [one.seconds for one in (await drive(subject, ask.whole, plan.alone, 1, limit)).answers]
    firsts = [one.arrivals[0] for one in (await drive(subject, ask.brief, plan.first_alone, 1, limit)).answers]
    streams = (await drive(subject, ask.long, plan.streams_alone, 1, limit)).answers
    ways = [
        delays(writes, [answer.began + arrival for arrival in answer.arrivals], answer.counts)
        for answer, writes in zip(streams, last_writes(upstream, len(streams)), strict=True)
    ]
    between, lasts = [delay for way in ways for delay in way[1:-1]], [way[-1] for way in ways]
    figures = (single, firsts, between or lasts, lasts)
    return Alone(*(quantile(many, share) * 1e3 for many in figures for share in (0.5, 0.99)))


async def _frontier(subject: Subject, ask: Ask, full: Phase, plan: Plan) -> Frontier:
    """After everything else, and waited for: what it puts off falls into no other gateway's phases."""
    job = Job(Target(subject.door.host, subject.door.port), ask.shot, ask.check)
    found = await sweep(job, full.ran.sent / full.ran.seconds, plan.step, plan.sweep)
    await settled(subject)
    return found


def _costs(whole: Phase, long: Phase) -> Costs:
    return Costs(whole.cpu / whole.ran.sent * 1e6, long.cpu / long.ran.sent / TOKENS * 1e6)


def foreign(machine: float, known: float) -> float:
    """The share of the machine's busy seconds that is not of those we know; 0 where a phase is too short to tell.

    The machine counts in ticks of 10 ms: a phase of fewer may have none.
    """
    return max(0.0, (machine - known) / machine) if machine else 0.0


async def measure(subject: Subject, upstream: Server, plan: Plan) -> Figures:
    """All phases, one after the other."""
    ask, limit = asks(subject.door), plan.seconds
    await settled(subject)  # with what came due while it stood still
    await drive(subject, ask.whole, plan.warm, plan.connections, limit / 2)
    others = cpu.cpu_seconds(upstream.pids())
    full = await drive(subject, ask.whole, plan.requests, plan.connections, limit)
    others = cpu.cpu_seconds(upstream.pids()) - others + full.during + full.ran.cpu
    await drive(subject, ask.brief, plan.open_streams, plan.open_streams, limit)
    alone = await _alone(subject, upstream, plan)
    polling = polled = None
    with awake() as trouble:
        if not trouble:
            polled = await _alone(subject, upstream, plan)
            whole = await drive(subject, ask.whole, plan.requests, plan.connections, limit)
            polling = _costs(whole, await drive(subject, ask.long, plan.streams, plan.open_streams, limit))
    streams = await drive(subject, ask.long, plan.streams, plan.open_streams, limit)
    briefs = await drive(subject, ask.brief, plan.briefs, plan.open_streams, limit)
    per_long, per_brief = streams.cpu / streams.ran.sent, briefs.cpu / briefs.ran.sent
    slope = (per_long - per_brief) / (TOKENS - BRIEF)
    loaded, memory = [a.seconds for a in full.answers], subject.memory()
    return Figures(
        halting=_costs(full, streams),
        polling=polling,
        per_second=full.ran.sent / full.ran.seconds,
        busy=full.during / full.ran.seconds,
        foreign=foreign(full.machine, others),
        loaded_p50_ms=quantile(loaded, 0.5) * 1e3,
        loaded_p99_ms=quantile(loaded, 0.99) * 1e3,
        alone=alone,
        awake=polled,
        cpu_chunk_only_us=slope * 1e6,
        cpu_stream_us=(per_brief - slope * BRIEF) * 1e6,
        stream_ms=quantile([a.seconds for a in streams.answers], 0.5) * 1e3,
        memory=memory,
        generator_us=full.ran.cpu / full.ran.sent * 1e6,
        frontier=await _frontier(subject, ask.whole, full, plan),
    )
