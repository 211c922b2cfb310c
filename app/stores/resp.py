"""Redis' wire protocol (RESP2), as much of it as the limit store needs: one connection, pipelined, bounded waits.

Why not redis-py: a script call through its asyncio client takes 200–260 µs of CPU, through this one 20–50, and a whole
request through the gateway is meant to take about 100. Format:
https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import cast

from app.pipeline.reservation import StoreUnavailable

Reply = int | bytes | None | list["Reply"]
"""A reply; errors inside an array do not occur with what is asked here."""

REPLY_BYTES = 64 * 1024 * 1024
"""Longest reply that is read; a longer one closes the connection."""


class ReplyError(Exception):
    """The server's error reply, as text: its first word is the kind (`NOSCRIPT`, `READONLY`, `LOADING`, …)."""


class Unanswered(StoreUnavailable):
    """No reply came in time. `asked` says that the command was written, so it may have run, or may run yet."""

    def __init__(self, text: str, *, asked: bool) -> None:
        super().__init__(text)
        self.asked = asked


def encode(parts: Iterable[bytes]) -> bytes:
    """The parts of a command, without the line that says how many there are."""
    return b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])


class Connection(asyncio.Protocol):
    """One connection. Replies come in the order of the commands.

    `timeout` bounds each wait, in seconds. A connection that let one command time out is `stalled` until the next reply
    comes; one that stays silent for `give_up` seconds is closed.
    """

    def __init__(self, timeout: float, give_up: float = 2.0) -> None:
        self.stalled = False
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._give_up = give_up
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[float, asyncio.Future[Reply]]] = deque()
        self._buffer = b""
        self._timer: asyncio.TimerHandle | None = None
        self._looked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no instances of it

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 # why it was lost does not matter
        """Fail all that still wait: their commands may have run."""
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(Unanswered("the connection was lost", asked=True))
        self._waiting.clear()
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Hand every complete reply to whoever waits for it."""
        self._buffer = self._buffer + data if self._buffer else data
        at = 0
        try:
            while at < len(self._buffer) and self._waiting:
                reply, at = _parse(self._buffer, at)
                self._answer(reply)
        except _Incomplete:
            if len(self._buffer) - at > REPLY_BYTES:
                self.close()
        except (ValueError, RecursionError):
            self.close()  # not RESP
        self._buffer = self._buffer[at:]

    def ask(self, count: int, encoded: bytes) -> asyncio.Future[Reply]:
        """Write a command of `count` parts now; the future brings its reply, ReplyError or Unanswered."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        if self._transport is None or self._transport.is_closing():
            future.set_exception(Unanswered("not connected", asked=False))
            return future
        self._transport.write(b"*%d\r\n%b" % (count, encoded))
        self._waiting.append((self._loop.time(), future))
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout, self._late)
        return future

    async def command(self, *parts: bytes) -> Reply:
        """Run one command."""
        return await self.ask(len(parts), encode(parts))

    def close(self) -> None:
        """Close the connection; whoever waits gets Unanswered."""
        if self._transport is not None:
            self._transport.abort()

    def _answer(self, reply: Reply | ReplyError) -> None:
        _, future = self._waiting.popleft()
        self.stalled = False
        if future.done():  # timed out, or its caller left
            return
        if isinstance(reply, ReplyError):
            future.set_exception(reply)
        else:
            future.set_result(reply)

    def _late(self) -> None:
        """Fail the waits that are over, and look again when the next one will be."""
        if not self._looked:
            # After the event loop was busy, its timers run before it reads: a reply may lie there already.
            self._looked = True
            self._timer = self._loop.call_later(0.001, self._late)
            return
        self._looked = False
        self._timer = None
        now = self._loop.time()
        if self._waiting and now - self._waiting[0][0] >= self._give_up:
            self.close()
            return
        for asked, future in self._waiting:
            if now - asked < self._timeout * 0.999:
                self._timer = self._loop.call_at(asked + self._timeout, self._late)
                return
            if not future.done():
                self.stalled = True
                future.set_exception(Unanswered(f"no reply within {self._timeout:g} s", asked=True))
        if self._waiting:
            self._timer = self._loop.call_at(self._waiting[0][0] + self._give_up, self._late)


class _Incomplete(Exception):
    """The rest of the reply has not come yet."""


def _parse(data: bytes, at: int) -> tuple[Reply | ReplyError, int]:
    """The reply that begins at `at`, and where the next one begins."""
    end = data.find(b"\r\n", at)
    if end < 0:
        raise _Incomplete
    kind, line, after = data[at], data[at + 1 : end], end + 2
    if kind == _INT:
        return int(line), after
    if kind == _BULK:
        return _bulk(data, int(line), after)
    if kind == _ARRAY:
        return _array(data, int(line), after)
    if kind == _SIMPLE:
        return line, after
    if kind == _ERROR:
        return ReplyError(line.decode("utf-8", "replace")), after
    raise ValueError(line)


_INT, _BULK, _ARRAY, _SIMPLE, _ERROR = b":$*+-"


def _bulk(data: bytes, size: int, at: int) -> tuple[Reply, int]:
    if size < 0:
        return None, at
    if len(data) < at + size + 2:
        raise _Incomplete
    return data[at : at + size], at + size + 2


def _array(data: bytes, size: int, at: int) -> tuple[Reply, int]:
    if size < 0:
        return None, at
    items: list[Reply] = []
    for _ in range(size):
        item, at = _parse(data, at)
        if isinstance(item, ReplyError):
            raise ValueError(str(item))  # noqa: TRY004 # what came is not what was agreed
        items.append(item)
    return items, at
