"""Staying awake for what comes next, where cores are there to be used.

A core without work goes to sleep. A virtual machine gives it back to the host, and whoever sends the next piece waits
until the host has brought it back: 35 µs and more, on a request's way in and on the answer's. A worker that looks for
work a little longer before it sleeps is there when the piece comes. It takes processor time that nobody else wanted,
and none where the worker has work anyway. (HAProxy has `busy-polling`, Linux the `haltpoll` governor for guests.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from time import perf_counter


class Vigil:
    """Keeps the event loop looking for `seconds` after the last thing that was `heard`; with 0 it never does.

    Not while more than `most` requests are in flight, as `in_flight` tells: a worker that busy hardly sleeps, and
    its callers wait for work rather than for a core.
    """

    __slots__ = ("_clock", "_context", "_heard", "_in_flight", "_looking", "_loop", "_most", "_seconds", "_until")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        seconds: float = 0.0,
        most: int = 0,
        in_flight: Callable[[], int] = int,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._loop = loop
        self._seconds = seconds
        self._most = most
        self._in_flight = in_flight
        self._clock = clock
        self._context = Context()  # else each turn copies that of whoever was heard
        self._looking = False
        self._heard = False
        self._until = 0.0

    def heard(self) -> None:
        """Something came from a caller or an upstream."""
        if not self._seconds:
            return
        self._heard = True
        if not self._looking and self._in_flight() <= self._most:
            self._looking = True
            self._look()

    def _look(self) -> None:
        """What is ready keeps the loop from sleeping: it asks the system once, and comes back here."""
        now = self._clock()
        if self._heard:
            self._heard = False
            self._until = now + self._seconds
        if now >= self._until or self._in_flight() > self._most:
            self._looking = False
            return
        self._loop.call_soon(self._look, context=self._context)
