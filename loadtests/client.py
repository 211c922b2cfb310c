"""The load generator: a closed loop of N connections, or an open loop at a fixed rate.

It is cheap, so that one core carries it and the upstream while the gateway under test has another core to itself.
Every answer is handed to a sink that checks it. `python -m loadtests.fire --help` runs it by hand.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter, process_time

from loadtests.line import Answer, Line, Shot

Sink = Callable[[Answer], None]
GRACE = 10.0
"""Seconds that requests under way may still take once the time for starting new ones is over."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to fire."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Ran:
    """One load, over: `sent` requests in `seconds`, for which the generator itself took `cpu` seconds."""

    sent: int
    seconds: float
    cpu: float


class Load:
    """Connections that fire what `source` yields and tell `sink` every answer, until source or time is at an end."""

    def __init__(
        self, target: Target, source: Iterator[Shot], sink: Sink, *, seconds: float, spread: float = 0.0
    ) -> None:
        self._target, self._source, self._sink = target, source, sink
        self._seconds, self._spread = seconds, spread
        self._until = 0.0
        self._opening: set[asyncio.Task[None]] = set()
        self._lines: set[Line] = set()
        self._over = asyncio.Event()
        self.sent = 0

    async def run(self, connections: int) -> Ran:
        """The closed loop: a connection asks again when it is answered; `spread` seconds lie between their starts."""
        begun, cpu = perf_counter(), process_time()
        self._until = begun + self._seconds
        for number in range(connections):
            self._open(number * self._spread)
        try:
            async with asyncio.timeout(self._seconds + GRACE):
                await self._over.wait()
        except TimeoutError:
            for line in list(self._lines):
                line.give_up()
        finally:
            self._close()
        return Ran(self.sent, perf_counter() - begun, process_time() - cpu)

    def finished(self, line: Line, answer: Answer) -> None:
        """A line is free again, or gone: tell the sink, then fire the next."""
        self._sink(answer)
        if line.closed:
            self._lines.discard(line)
            self._open(0.0)
        elif (shot := self._take()) is not None:
            self._fire(line, shot)
        else:
            self._lines.discard(line)
            line.close()
            self._end_when_idle()

    def _open(self, delay: float) -> None:
        task = asyncio.create_task(self._connect(delay), name="load: open a connection")
        self._opening.add(task)
        task.add_done_callback(self._opened)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._sink(Answer(Shot(b""), fault=f"cannot connect: {error}"))
            self._until = 0.0
        self._end_when_idle()

    async def _connect(self, delay: float) -> None:
        if delay:
            await asyncio.sleep(delay)
        shot = self._take()
        if shot is None:
            return
        loop = asyncio.get_running_loop()
        _, line = await loop.create_connection(lambda: Line(self, loop), self._target.host, self._target.port)
        self._lines.add(line)
        self._fire(line, shot)

    def _take(self) -> Shot | None:
        """The next request; None once the source or the time is at an end."""
        return next(self._source, None) if perf_counter() < self._until else None

    def _fire(self, line: Line, shot: Shot) -> None:
        self.sent += 1
        line.fire(shot)

    def _end_when_idle(self) -> None:
        if not self._lines and not self._opening:
            self._over.set()

    def _close(self) -> None:
        for task in self._opening:
            task.cancel()
        for line in self._lines:
            line.close()


class Paced:
    """The open loop: `rate` requests a second whatever the answers do, on a millisecond grid.

    A request that finds every connection taken waits, and its time counts from when it was due: a server that
    stalls is not spared the requests that it kept from being sent. A request fired within a tick (2 ms) of its due
    time counts from when it was fired, because the wait is the generator's own. What is not answered `grace` seconds
    after the last was due is a fault, also where it found no connection until then.
    """

    TICK = 0.002
    ACCEPTED = 0.1
    """Seconds that a server has for the new connections before the first request is due."""

    def __init__(
        self,
        target: Target,
        source: Iterator[Shot],
        sink: Sink,
        *,
        seconds: float,
        rate: float,
        grace: float = GRACE,
    ) -> None:
        self._target, self._source, self._sink = target, source, sink
        self._seconds, self._rate, self._grace = seconds, rate, grace
        self._free: list[Line] = []
        self._lines: set[Line] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._waiting: deque[float] = deque()
        self._answered = asyncio.Event()
        self._over = False
        self.sent = self._done = 0

    async def run(self, connections: int) -> Ran:
        """Hold the rate for the time, then wait for the answers under way."""
        await asyncio.gather(*(self._open() for _ in range(connections)))
        await asyncio.sleep(self.ACCEPTED)
        begun, cpu = perf_counter(), process_time()
        due = 0
        while (now := perf_counter() - begun) < self._seconds:
            while due < now * self._rate:
                self._waiting.append(begun + due / self._rate)
                due += 1
            self._drain()
            await asyncio.sleep(0.001)
        await self._settle()
        return Ran(self.sent, perf_counter() - begun, process_time() - cpu)

    def finished(self, line: Line, answer: Answer) -> None:
        """A line is free again, or gone and replaced."""
        self._done += 1
        self._sink(answer)
        if line.closed:
            self._lines.discard(line)
            self._replace()
        else:
            self._free.append(line)
        self._drain()
        self._answered.set()

    def _replace(self) -> None:
        if not self._over:
            task = asyncio.create_task(self._open(), name="load: open a connection")
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        _, line = await loop.create_connection(lambda: Line(self, loop), self._target.host, self._target.port)
        self._lines.add(line)
        self._free.append(line)

    def _drain(self) -> None:
        now = perf_counter()
        while self._waiting and self._free:
            due = self._waiting.popleft()
            self.sent += 1
            self._free.pop().fire(next(self._source), now if now - due <= self.TICK else due)

    async def _settle(self) -> None:
        try:
            async with asyncio.timeout(self._grace):
                while self._done < self.sent or self._waiting:
                    self._answered.clear()
                    await self._answered.wait()
        except TimeoutError:
            while self._waiting:
                due = self._waiting.popleft()
                waited = perf_counter() - due
                self._sink(Answer(next(self._source), due, seconds=waited, fault="no connection was free in time"))
        self._over = True
        for task in self._opening:
            task.cancel()
        for line in list(self._lines):
            line.give_up()
            line.close()


class Kept:
    """A sink that keeps every answer, for a check after the clock has stopped."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []

    def __call__(self, answer: Answer) -> None:
        """Keep it."""
        self.answers.append(answer)

    def faults(self, check: Callable[[Answer], str | None]) -> list[str]:
        """What `check` has to say about the answers; empty when all are right."""
        return [f"{answer.shot.kind}: {fault}" for answer in self.answers if (fault := check(answer)) is not None]
