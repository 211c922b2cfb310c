"""One gateway measured once: warm-up, full load, one caller alone, long streams, short streams.

CPU is that of all the gateway's processes between the first request of a phase and its last answer. The checks of
the answers run after the clock has stopped.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass

from loadtests import cpu
from loadtests.client import Kept, Load, Ran, Target
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
    """How much is asked in each phase. A gateway that is not through after `seconds` is measured on what it did."""

    warm: int = 1000
    requests: int = 10000
    connections: int = 32
    alone: int = 1000
    streams: int = 256
    open_streams: int = 32
    briefs: int = 1024
    first_alone: int = 100
    seconds: float = 6.0


QUICK = Plan(warm=200, requests=2000, alone=200, streams=64, briefs=128, first_alone=25, seconds=3.0)


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


@dataclass(frozen=True, slots=True)
class Phase:
    """One load on one gateway: CPU seconds of the gateway, and of everything on the machine, while it ran."""

    ran: Ran
    cpu: float
    machine: float
    answers: list[Answer]


@dataclass(frozen=True, slots=True)
class Ask:
    """What one phase asks: `shot` so many times over so many connections, which begin `spread` seconds apart."""

    shot: Shot
    check: Check
    spread: float = 0.0


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
        used, busy = subject.cpu() - before, cpu.machine().busy - busy
    finally:
        gc.enable()
    if faults := kept.faults(ask.check):
        raise WrongAnswerError(f"{len(faults)} of {ran.sent} answers are wrong; the first: {faults[0]}")
    for answer in kept.answers:
        answer.body = b""
    return Phase(ran, used, busy, kept.answers)


@dataclass(frozen=True, slots=True)
class Figures:
    """One gateway in one round. Microseconds (`_us`) of CPU, milliseconds (`_ms`) of latency, bytes of memory.

    `cpu_chunk_us` is all CPU of the long streams over their upstream chunks of text. `cpu_chunk_only_us` and
    `cpu_stream_us` split it: the slope and the intercept of the line through the long and the short streams.
    `busy` is the share of its core that the gateway used at full load: where it is well below 1 the generator or
    the upstream was the bottleneck, and `per_second` is a lower bound. `foreign` is the share of the machine's
    busy time in that phase that belonged to neither gateway, upstream nor generator.
    """

    cpu_request_us: float
    per_second: float
    busy: float
    foreign: float
    loaded_p50_ms: float
    loaded_p99_ms: float
    alone_p50_ms: float
    alone_p99_ms: float
    first_p50_ms: float
    first_p99_ms: float
    cpu_chunk_us: float
    cpu_chunk_only_us: float
    cpu_stream_us: float
    stream_ms: float
    memory: int
    generator_us: float


async def measure(subject: Subject, upstream: Server, plan: Plan) -> Figures:
    """All phases, one after the other."""
    whole = Ask(subject.door.shot(chat(WHOLE_MODEL, stream=False), kind="whole"), check_whole)
    # Paced streams that all began at once would stay in step.
    long = Ask(subject.door.shot(chat(STREAM_MODEL, stream=True), kind="stream"), StreamCheck(TOKENS), 0.002)
    short = chat(BRIEF_MODEL, stream=True, max_tokens=BRIEF)
    brief = Ask(subject.door.shot(short, kind="brief stream"), StreamCheck(BRIEF), 0.002)
    limit = plan.seconds
    await drive(subject, whole, plan.warm, plan.connections, limit / 2)
    others = cpu.cpu_seconds(upstream.pids())
    full = await drive(subject, whole, plan.requests, plan.connections, limit)
    others = cpu.cpu_seconds(upstream.pids()) - others + full.cpu + full.ran.cpu
    alone = await drive(subject, whole, plan.alone, 1, limit)
    await drive(subject, brief, plan.open_streams, plan.open_streams, limit)
    first = await drive(subject, brief, plan.first_alone, 1, limit)
    streams = await drive(subject, long, plan.streams, plan.open_streams, limit)
    briefs = await drive(subject, brief, plan.briefs, plan.open_streams, limit)
    per_long, per_brief = streams.cpu / streams.ran.sent, briefs.cpu / briefs.ran.sent
    slope = (per_long - per_brief) / (TOKENS - BRIEF)
    loaded, single = [a.seconds for a in full.answers], [a.seconds for a in alone.answers]
    firsts = [a.arrivals[0] for a in first.answers]
    return Figures(
        cpu_request_us=full.cpu / full.ran.sent * 1e6,
        per_second=full.ran.sent / full.ran.seconds,
        busy=full.cpu / full.ran.seconds,
        foreign=max(0.0, (full.machine - others) / full.machine),
        loaded_p50_ms=quantile(loaded, 0.5) * 1e3,
        loaded_p99_ms=quantile(loaded, 0.99) * 1e3,
        alone_p50_ms=quantile(single, 0.5) * 1e3,
        alone_p99_ms=quantile(single, 0.99) * 1e3,
        first_p50_ms=quantile(firsts, 0.5) * 1e3,
        first_p99_ms=quantile(firsts, 0.99) * 1e3,
        cpu_chunk_us=per_long / TOKENS * 1e6,
        cpu_chunk_only_us=slope * 1e6,
        cpu_stream_us=(per_brief - slope * BRIEF) * 1e6,
        stream_ms=quantile([a.seconds for a in streams.answers], 0.5) * 1e3,
        memory=subject.memory(),
        generator_us=full.ran.cpu / full.ran.sent * 1e6,
    )
