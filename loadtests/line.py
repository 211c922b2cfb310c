"""One connection of the load generator: fires a request, times its answer, leaves early where told to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol, cast

from loadtests.wire import Reply, WireError


@dataclass(frozen=True, slots=True)
class Leave:
    """How a caller walks away: after `events` server-sent events, or `seconds` after asking.

    With `reset` the connection is reset, else closed.
    """

    events: int | None = None
    seconds: float | None = None
    reset: bool = False


@dataclass(frozen=True, slots=True)
class Shot:
    """A request, ready to be written.

    `kind` is the caller's own word for it; it comes back with the answer. After the `last` request nothing more can
    be sent on its connection: its body was announced and is never sent.
    """

    wire: bytes
    kind: str = ""
    leave: Leave | None = None
    last: bool = False


@dataclass(slots=True)
class Answer:
    """What came back. Times are seconds since the request was due.

    `began` is when it was due (`perf_counter`, which on Linux is the machine's monotonic clock). `status` is 0 when no
    head came. `arrivals` holds a time per piece that brought server-sent events, `counts` how many had come by then.
    `left` tells that the generator went, as it was told. `fault` says what was wrong with the connection, None for a
    whole answer.
    """

    shot: Shot
    began: float = 0.0
    status: int = 0
    body: bytes = b""
    seconds: float = 0.0
    events: int = 0
    arrivals: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    left: bool = False
    fault: str | None = None


class Owner(Protocol):
    """Who is told when a line's answer is over; the line is free again unless it `closed`."""

    def finished(self, line: Line, answer: Answer) -> None:
        """Take the answer."""


class Line(asyncio.Protocol):
    """A keep-alive connection that carries one request at a time."""

    __slots__ = ("_answer", "_leaving", "_loop", "_owner", "_reply", "_started", "_transport", "closed")

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self._owner = owner
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._answer: Answer | None = None
        self._reply = Reply()
        self._started = 0.0
        self._leaving: asyncio.TimerHandle | None = None
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready to fire."""
        self._transport = cast("asyncio.Transport", transport)

    def fire(self, shot: Shot, due: float | None = None) -> None:
        """Send; times count from `due` (a `perf_counter` value), or from now."""
        self._started = perf_counter() if due is None else due
        self._answer = Answer(shot, self._started)
        self._reply = Reply()
        if shot.leave is not None and shot.leave.seconds is not None:
            self._leaving = self._loop.call_later(shot.leave.seconds, self._leave)
        cast("asyncio.Transport", self._transport).write(shot.wire)

    def data_received(self, data: bytes) -> None:
        """Take bytes of the answer."""
        answer, reply = self._answer, self._reply
        if answer is None:
            self.close()
            return
        now = perf_counter() - self._started
        events = reply.events
        try:
            reply.feed(data)
        except (WireError, ValueError) as error:
            self._over(now, str(error))
            return
        if reply.events > events:
            answer.arrivals.append(now)
            answer.counts.append(reply.events)
            if self._must_leave(answer.shot.leave):
                self._leave()
                return
        if reply.done:
            self._over(now, None)

    def _must_leave(self, leave: Leave | None) -> bool:
        return leave is not None and leave.events is not None and self._reply.events >= leave.events

    def _leave(self) -> None:
        answer = self._answer
        if answer is None:
            return
        answer.left = True
        if answer.shot.leave is not None and answer.shot.leave.reset:
            cast("asyncio.Transport", self._transport).abort()
        self._over(perf_counter() - self._started, None, keep=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer closed, or we did."""
        self.closed = True
        if self._answer is None:
            return
        try:
            self._reply.feed_eof()
        except WireError as error:
            self._over(perf_counter() - self._started, str(error) if exc is None else f"{error}: {exc}")
        else:
            self._over(perf_counter() - self._started, None)

    def give_up(self) -> None:
        """End a request that takes too long; its answer carries the fault."""
        if self._answer is not None:
            self._over(perf_counter() - self._started, "no whole answer in time")

    def close(self) -> None:
        """Close the connection; nothing more is fired on it."""
        self.closed = True
        if self._transport is not None:
            self._transport.close()

    def _over(self, now: float, fault: str | None, *, keep: bool = True) -> None:
        answer, reply = cast("Answer", self._answer), self._reply
        self._answer = None
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        answer.status, answer.body, answer.events = reply.status, reply.body, reply.events
        answer.seconds, answer.fault = now, fault
        if fault is not None or reply.closes or answer.shot.last or not keep:
            self.close()
        self._owner.finished(self, answer)
