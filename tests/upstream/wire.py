"""HTTP/1.1 on one connection: bytes in, `Exchange`s out, answers back. Knows nothing of models.

Written on `asyncio.Protocol` and httptools so that the server under a benchmark is never what is measured.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Protocol

import httptools

from tests.upstream.state import Received, Record, State

REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
JSON = b"application/json"
EVENTS = b"text/event-stream; charset=utf-8"


class Handler(Protocol):
    """What a connection needs of the server."""

    state: State
    connections: set[Connection]

    def handle(self, exchange: Exchange) -> None:
        """Answer a request, now or later."""

    def early(self, exchange: Exchange, length: int, start: bytes) -> bool:
        """Whether a request was answered before its body has come; `start` is what there is of it."""

    def broken(self, what: str, exchange: Exchange | None) -> None:
        """An exception that nobody expected is being handled."""


class Clock:
    """The `date` header, made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self, second: int) -> bytes:
        """`date: …` with its line end."""
        if second != self._second:
            self._second = second
            self._line = f"date: {formatdate(second, usegmt=True)}\r\n".encode()
        return self._line


CLOCK = Clock()


def head(
    status: int,
    *,
    kind: bytes = JSON,
    length: int | None = None,
    chunked: bool = False,
    extra: bytes = b"",
) -> bytes:
    """A response head. `extra` is whole header lines."""
    framing = b""
    if length is not None:
        framing = b"content-length: %d\r\n" % length
    elif chunked:
        framing = b"transfer-encoding: chunked\r\n"
    date = CLOCK.line(int(time.time()))
    typed = b"content-type: " + kind + b"\r\n" if kind else b""
    line = b"HTTP/1.1 %d %b\r\n" % (status, REASONS.get(status, b"Unknown"))
    return b"".join((line, date, b"server: uvicorn\r\n", framing, typed, b"vary: Origin\r\n", extra, b"\r\n"))


class Exchange:
    """One request and the answer to it. `on_gone` is called when the caller leaves before the answer is complete."""

    __slots__ = ("body", "close", "connection", "headers", "logged", "method", "on_gone", "path", "record", "values")

    def __init__(self, connection: Connection, record: Record) -> None:
        self.connection = connection
        self.record = record
        self.method = ""
        self.path = ""
        self.headers: list[tuple[bytes, bytes]] = []  # as they came, names in lower case
        self.values: dict[bytes, bytes] = {}  # by name; a violation has been recorded if one came twice
        self.body = b""
        self.close = False  # the connection ends with this answer
        self.logged = True  # control requests are not
        self.on_gone: Callable[[], None] | None = None

    def header(self, name: bytes) -> bytes | None:
        """The header of that (lower-case) name."""
        return self.values.get(name)

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        if self.record.first is None:
            self.record.first = time.monotonic()
        self.connection.transport.write(data)

    def reply(self, status: int, body: bytes, *, kind: bytes = JSON, extra: bytes = b"", finish: str = "stop") -> None:
        """A whole answer at once."""
        self.record.status = status
        if self.close:
            extra += b"connection: close\r\n"
        self.write(head(status, kind=kind, length=len(body), extra=extra) + (b"" if self.method == "HEAD" else body))
        self.record.complete = True
        self.finish(finish)

    def finish(self, finish: str) -> None:
        """The answer is over; the next request may come."""
        self.connection.done(self, finish)

    def reset(self) -> None:
        """Break the connection off, with a reset."""
        self.connection.break_off(reset=True)

    def hang_up(self) -> None:
        """End the connection after what was written."""
        self.connection.break_off(reset=False)


class Connection(asyncio.Protocol):
    """One client's connection. Requests are answered one after the other, in order."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.state = handler.state
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.parser = httptools.HttpRequestParser(self)
        self.current: Exchange | None = None  # being answered
        self.waiting: deque[Exchange] = deque()  # came before the answer to the last one
        self.reading: Exchange | None = None
        self.fragments: list[bytes] = []
        self.pairs: list[tuple[bytes, bytes]] = []
        self.served = 0
        self.idle_since = time.monotonic()
        self.paused = False
        self.on_resume: Callable[[], None] | None = None
        self.early_answer = False
        self.control = False
        self.number = 0

    # --- transport ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember it."""
        self.transport = transport  # type: ignore[assignment]
        self.state.accepted += 1
        self.state.connections += 1
        self.state.open_connections += 1
        self.number = self.state.accepted
        self.handler.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; what it cannot read is a violation."""
        if self.early_answer:
            return
        try:
            self.parser.feed_data(data)
            if self.reading is not None and self.fragments:
                self._consider_early(self.reading)
        except httptools.HttpParserUpgrade:
            self.state.violation("upgrade", "a request asked for another protocol")
            self.transport.abort()
        except httptools.HttpParserError as problem:
            inner = problem.__context__
            if isinstance(inner, Exception) and not isinstance(inner, httptools.HttpParserError):
                self.handler.broken("reading a request", self.current)
            else:
                self.state.violation("not_http", f"{problem!r}: {data[:200]!r}")
            self.transport.write(head(400, kind=b"text/plain", length=0, extra=b"connection: close\r\n"))
            self.transport.close()

    def _consider_early(self, exchange: Exchange) -> None:
        """A part of a body is here, and more is to come: some requests are answered now."""
        exchange.headers, exchange.values = self.pairs, dict(self.pairs)
        length = exchange.header(b"content-length")
        if length and self.handler.early(exchange, int(length), self.fragments[0]):
            self.early_answer = True

    def eof_received(self) -> bool:
        """The other side has ended its half; no HTTP client does so while it waits for an answer."""
        if self.current is not None:
            self._gone()
            self.transport.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller is gone, or we have hung up."""
        self.state.open_connections -= not self.control
        self.handler.connections.discard(self)
        self._gone()
        if self.reading is not None and not self.early_answer:
            self.state.totals["cut_requests"] += 1

    def pause_writing(self) -> None:
        """The caller does not read fast enough."""
        self.paused = True

    def resume_writing(self) -> None:
        """It reads again."""
        self.paused = False
        if self.on_resume:
            self.on_resume()

    # --- parser ------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self.state.seq += 1
        self.served += 1
        self.reading = Exchange(self, Record(self.state.seq, self.number, self.served, time.monotonic()))
        self.fragments = []
        self.pairs = []

    def on_url(self, url: bytes) -> None:
        """The request's target, possibly in parts."""
        assert self.reading
        self.reading.path += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self.pairs.append((name.lower(), value))

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        self.fragments.append(data)

    def on_message_complete(self) -> None:
        """The request is complete: answer it, or let it wait for its turn."""
        exchange = self.reading
        if exchange is None or self.early_answer:
            return
        self.reading = None
        fragments = self.fragments
        exchange.headers = self.pairs
        exchange.values = dict(self.pairs)
        exchange.body = fragments[0] if len(fragments) == 1 else b"".join(fragments)
        record = exchange.record
        record.method = exchange.method = self.parser.get_method().decode()
        record.path = exchange.path
        exchange.close = not self.parser.should_keep_alive()
        exchange.logged = not exchange.path.startswith("/_control/")
        if exchange.logged:
            self.state.began(Received(record.seq, record.method, record.path, exchange.headers, exchange.body))
        elif not self.control:
            self.control = True
            self.state.connections -= 1
            self.state.open_connections -= 1
        if self.current is not None:
            self.state.violation("pipelined", "a request came before the answer to the last one was complete", record)
            self.waiting.append(exchange)
            return
        self._answer(exchange)

    # --- answers -----------------------------------------------------------------------------------------

    def _answer(self, exchange: Exchange) -> None:
        self.current = exchange
        try:
            self.handler.handle(exchange)
        except Exception:  # noqa: BLE001 the server's edge: a bug must show up as a violation, not as a closed socket
            self.handler.broken("answering", exchange)
            if self.current is exchange and exchange.record.first is None:
                exchange.reply(500, b"the fake upstream has a bug", kind=b"text/plain", finish="error")

    def done(self, exchange: Exchange, finish: str) -> None:
        """An answer is complete."""
        if self.current is not exchange:
            return
        self.current = None
        self.on_resume = None
        self.idle_since = time.monotonic()
        if exchange.logged:
            self.state.ended(exchange.record, finish)
        if exchange.close:
            self.transport.close()
        elif self.waiting:
            self._answer(self.waiting.popleft())

    def answer_early(self, exchange: Exchange, status: int, body: bytes) -> None:
        """Answer before the request is complete, end our half, and read the rest into the void for a second."""
        self.current = exchange
        exchange.reply(status, body, extra=b"connection: close\r\n", finish="error")
        self.transport.write_eof()
        asyncio.get_running_loop().call_later(1, self.transport.abort)

    def break_off(self, *, reset: bool) -> None:
        """End the connection on purpose. The request ends without having been left by its caller."""
        exchange, self.current = self.current, None
        if exchange is not None:
            self.state.ended(exchange.record, "error")
        if reset:
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            self.transport.abort()
        else:
            self.transport.close()

    def _gone(self) -> None:
        exchange, self.current = self.current, None
        if exchange is None:
            return
        exchange.record.gone = time.monotonic()
        if exchange.on_gone:
            exchange.on_gone()
        self.state.ended(exchange.record, "abort")
