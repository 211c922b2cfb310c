"""Writes to sockets, taken together within one turn of the event loop.

A write to somebody who sleeps wakes him. Where that means to wake another core of a virtual machine, the host has to be
called: 14 µs, three times what the rest of the write takes. Who writes now and then while it works finds its readers
asleep each time; who writes everything at the end of a turn wakes them once.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import Final

MOST: Final = 16
"""Writes that wait at most: the first of them waits for the work on so many requests."""


class Outbox:
    """Takes the writes of one event loop that nothing follows on their connection before the turn is over.

    The first of a turn leaves at once: a request that is alone waits for nothing. Those after it leave, in their order,
    at the end of the turn or when MOST of them wait. Whoever writes past it to a connection, or closes one, while
    something may wait for that connection, calls `flush` first.
    """

    __slots__ = ("_context", "_loop", "_turning", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._context = Context()  # else each turn copies the writer's
        self._turning = False
        self._waiting: list[tuple[asyncio.Transport, bytes]] = []

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        """Write to a connection now or, behind others, within this turn. One that is closed by then gets nothing."""
        if not self._turning:
            self._turning = True
            self._loop.call_soon(self._turned, context=self._context)
            transport.write(data)
            return
        self._waiting.append((transport, data))
        if len(self._waiting) >= MOST:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        waiting = self._waiting
        if not waiting:
            return
        self._waiting = []
        for transport, data in waiting:
            if transport.is_closing():
                continue
            try:
                transport.write(data)
            except RuntimeError:  # something has ended its writing side: whoever waits there learns that it is over
                transport.abort()

    def _turned(self) -> None:
        self._turning = False
        self.flush()
