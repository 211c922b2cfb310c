"""HTTP/1.1 to an upstream (RFC 9112): a connection as an asyncio protocol on httptools, and one exchange on it.

The hot path: no task, no queue, no timer per request or per piece. `send` and `read` wait on one future at a time,
which `data_received` sets after it has parsed everything that came in one go; so an answer that arrives in one segment
costs one suspension. Each connection keeps one timer across its requests and moves it only when it would fire too late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

import httptools

from app.errors import Failure, UpstreamFailure
from app.exchange import Timeouts
from app.providers.encoding import gather
from app.providers.failures import PARSER_ERRORS, describe

MAX_HEAD: Final = 64 * 1024
"""Bytes of a response's head, 1xx heads before it included; also of what comes between two pieces of a body."""
MAX_HEADERS: Final = 256
HIGH_WATER: Final = 128 * 1024
"""Unread bytes of a body above which reading from the socket pauses; one segment (≤ 256 KiB) can come on top."""
WRITE_SLICE: Final = 64 * 1024
"""Bodies up to this leave in one write with their head; longer ones in slices, as the socket takes them."""
TICK: Final = 0.002
"""Seconds by which a timer may be early: uvloop counts in milliseconds."""
FOREVER: Final = float("inf")

_NAMES: Final[dict[bytes, str]] = {}
for _name in (
    "connection", "content-encoding", "content-length", "content-type", "date", "keep-alive", "openai-processing-ms",
    "retry-after", "server", "transfer-encoding", "via", "x-request-id",
):  # fmt: skip
    _NAMES[_name.encode()] = _NAMES[_name.title().encode()] = _name


class Exchange:
    """One request and its response; the reply that the pipeline reads.

    Without `stream`, only the deadline holds. With it, the first byte of the response's *body* must come within
    `first_token` of the request (a head alone is no answer: vLLM and proxies send it long before), and each further
    one within `between_tokens` of the one before. A reader that is slow is not the upstream's fault: while reading is
    paused, silence does not count.
    """

    __slots__ = (
        "between", "body_begun", "complete", "connection", "deadline", "failure", "head_only", "headers", "parts",
        "patience", "sent", "since", "status", "touched", "unread",
    )  # fmt: skip

    def __init__(self, timeouts: Timeouts, deadline: float, now: float, *, stream: bool, head_only: bool) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.connection: Connection | None = None
        self.parts: list[bytes] = []
        self.unread = 0
        self.sent = False
        self.touched = False
        """Whether any byte of a response has come."""
        self.body_begun = False
        self.complete = False
        self.head_only = head_only
        self.failure: tuple[Failure, str] | None = None
        self.since = now
        self.patience = timeouts.first_token if stream else FOREVER
        self.between = timeouts.between_tokens if stream else FOREVER
        self.deadline = deadline

    @property
    def due(self) -> float:
        """When the next timeout strikes, in loop time."""
        return min(self.since + self.patience, self.deadline)

    def error(self) -> UpstreamFailure:
        """The failure as an exception."""
        failure, detail = self.failure or (Failure.TRUNCATED, "read after close")
        return UpstreamFailure(failure, detail, sent=self.sent)

    async def read(self) -> bytes:
        """Everything of the body that has come and was not read; empty at the end. Raises `UpstreamFailure`."""
        while True:
            if self.parts:
                return self._take()
            if self.complete:
                return b""
            connection = self.connection
            if connection is None or self.failure is not None:
                raise self.error()
            try:
                await connection.wait()
            except BaseException:
                self.close()
                raise

    async def read_all(self, limit: int) -> bytes:
        """The whole body. Raises `UpstreamFailure`, also when it is longer than `limit` bytes."""
        if self.complete and self.unread <= limit:
            return self._take() if self.parts else b""
        return await gather(self, limit)

    def close(self) -> None:
        """Give the connection back if the body has come to its end, else abort it."""
        connection = self.connection
        if connection is not None:
            self.connection = None
            connection.finish(self)

    def _take(self) -> bytes:
        parts = self.parts
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self.unread = 0
        connection = self.connection
        if connection is not None and connection.paused:
            connection.unpause()
        return data


class _Refused(Exception):
    """Raised inside a parser callback: the response breaks a bound or asks for something that is not spoken here."""


class Connection(asyncio.Protocol):
    """One connection; at most one exchange at a time.

    `lost` is called once, when the connection is gone; `idle` when an exchange has ended and another may begin.
    """

    __slots__ = (
        "_count", "_head_bytes", "_idle", "_loop", "_lost", "_news", "_parser", "_timer", "_timer_at", "_unsent",
        "_until_close", "_waiter", "_write_paused", "exchange", "idle_since", "paused", "transport", "usable",
    )  # fmt: skip

    def __init__(
        self, loop: asyncio.AbstractEventLoop, idle: Callable[[Connection], None], lost: Callable[[Connection], None]
    ) -> None:
        self._loop = loop
        self._idle = idle
        self._lost = lost
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = FOREVER
        self._count = 0
        self._head_bytes = 0
        self._news = False
        self._until_close = False
        self._unsent: memoryview | None = None
        self._write_paused = False
        self.transport: asyncio.Transport | None = None
        self.exchange: Exchange | None = None
        self.idle_since = 0.0
        self.paused = False
        self.usable = True
        """Whether another exchange may begin on it; false for good once it is closing or out of step."""

    # --- the client's side

    def start(self, exchange: Exchange, head: bytes, body: bytes) -> None:
        """Send a request. The connection must be fresh or just out of the pool."""
        if not self.usable:
            exchange.failure = (Failure.CLOSED, "closed by the upstream before the request")
            self.abort()
            return
        exchange.sent = True
        self.exchange = exchange
        exchange.connection = self
        self._count = self._head_bytes = 0
        self._until_close = False
        due = exchange.due
        if self._timer is None or due < self._timer_at:
            self._arm(due)
        transport = cast("asyncio.Transport", self.transport)
        if len(body) <= WRITE_SLICE:
            transport.write(head + body)
        else:
            transport.write(head)
            self._unsent = memoryview(body)
            self._pump()

    def wait(self) -> asyncio.Future[None]:
        """Resolves at the next news of the exchange: its head, a piece of its body, its end or its failure."""
        waiter = self._waiter = self._loop.create_future()
        return waiter

    def finish(self, exchange: Exchange) -> None:
        """The exchange lets go: reuse the connection if it is in step with the upstream, else abort it."""
        if self.exchange is not exchange:
            return
        self.exchange = None
        if exchange.complete and self.usable and self._unsent is None:
            if self.paused:
                self.unpause()
            self._idle(self)
            return
        if not exchange.complete and exchange.failure is None:
            exchange.failure = (Failure.TRUNCATED, "closed by the gateway before the end")
        self.abort()
        self._wake()

    def unpause(self) -> None:
        """Read from the socket again."""
        self.paused = False
        if self.exchange is not None:
            self.exchange.since = self._loop.time()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def abort(self) -> None:
        """Close at once, without flushing."""
        self.usable = False
        self._unsent = None
        if self.transport is not None:
            self.transport.abort()

    def fail(self, failure: Failure, detail: str) -> None:
        """The exchange, if it still needs the connection, has failed; the connection is of no more use."""
        exchange = self.exchange
        if exchange is not None and not exchange.complete and exchange.failure is None:
            exchange.failure = (failure, detail)
        self.abort()
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _pump(self) -> None:
        transport = cast("asyncio.Transport", self.transport)
        while self._unsent is not None and not self._write_paused:
            piece = self._unsent[:WRITE_SLICE]
            rest = self._unsent[WRITE_SLICE:]
            self._unsent = rest or None
            transport.write(piece)

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        exchange = self.exchange
        if exchange is None or exchange.complete:
            return
        now = self._loop.time() + TICK
        if self.paused:
            exchange.since = now
        if exchange.due > now:
            self._arm(exchange.due)
        elif exchange.deadline <= now:
            self.fail(Failure.TOTAL_TIMEOUT, "the deadline passed")
        elif exchange.body_begun:
            self.fail(Failure.BETWEEN_BYTES_TIMEOUT, f"nothing for {exchange.patience:g} s")
        else:
            self.fail(Failure.FIRST_BYTE_TIMEOUT, f"no byte of a body within {exchange.patience:g} s")

    # --- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open, TLS included."""
        self.transport = cast("asyncio.Transport", transport)
        if not self.usable:  # given up on while it was being opened
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse what came, then wake whoever waits, once."""
        exchange = self.exchange
        if exchange is None or exchange.failure is not None:
            self.abort()  # nobody asked for it: a 408 of a server that hangs up, or garbage
            return
        exchange.touched = True
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except PARSER_ERRORS as error:
            cause = error.__context__
            self.fail(Failure.PROTOCOL, describe(cause if isinstance(cause, _Refused) else error))
            return
        if not self._news:
            if self._head_bytes > MAX_HEAD:
                self.fail(Failure.PROTOCOL, f"more than {MAX_HEAD} bytes of head, trailers or chunk extensions")
            return
        self._news = False
        self._head_bytes = 0
        if exchange.parts:
            exchange.body_begun = True
            exchange.since = self._loop.time()
            exchange.patience = exchange.between
            if exchange.unread > HIGH_WATER and not self.paused and not exchange.complete:
                self.paused = True
                cast("asyncio.Transport", self.transport).pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """The upstream will send no more. The clean end of a body without a length; else `connection_lost` judges."""
        self.usable = False
        exchange = self.exchange
        if exchange is not None and self._until_close and exchange.failure is None:
            exchange.complete = True
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self.usable = False
        self._unsent = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        exchange = self.exchange
        if exchange is not None and not exchange.complete and exchange.failure is None:
            failure = Failure.TRUNCATED if exchange.touched else Failure.CLOSED
            exchange.failure = (failure, describe(exc) if exc is not None else "closed by the upstream")
        self._lost(self)
        self._wake()

    def pause_writing(self) -> None:
        """The socket takes no more for now."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """The socket takes more of the request's body."""
        self._write_paused = False
        self._pump()

    # --- httptools' side

    def on_message_begin(self) -> None:
        """A response begins; a second one, where one was asked for, ends the connection."""
        if cast("Exchange", self.exchange).complete:
            raise _Refused("bytes after the end of the response")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header line or, after the body, a trailer; trailers are dropped."""
        exchange = cast("Exchange", self.exchange)
        self._count += 1
        if self._count > MAX_HEADERS:
            raise _Refused(f"more than {MAX_HEADERS} headers")
        if exchange.status:
            return
        key = _NAMES.get(name) or name.decode("latin-1").lower()
        text = value.decode("latin-1").strip(" \t")
        headers = exchange.headers
        headers[key] = f"{headers[key]}, {text}" if key in headers else text

    def on_headers_complete(self) -> None:
        """A head is complete: an interim one is skipped, the final one wakes `send`."""
        exchange = cast("Exchange", self.exchange)
        status = self._parser.get_status_code()
        if status < 200:
            if status < 100 or status == 101:
                raise _Refused(f"status {status}")
            return
        headers = exchange.headers
        if self._head_bytes > MAX_HEAD and sum(map(len, headers.values())) + sum(map(len, headers)) > MAX_HEAD:
            raise _Refused(f"a head of more than {MAX_HEAD} bytes")
        coding = headers.get("transfer-encoding")
        if coding is not None and coding.lower() != "chunked":
            raise _Refused(f"transfer-encoding {coding!r}")
        exchange.status = status
        self._news = True
        if exchange.head_only:
            exchange.complete = True
            self.usable = False  # the parser expects the body that a HEAD's head announces
        else:
            self._until_close = coding is None and "content-length" not in headers and status not in {204, 304}

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        exchange = cast("Exchange", self.exchange)
        if not exchange.complete:
            exchange.parts.append(data)
            exchange.unread += len(data)
            self._news = True

    def on_message_complete(self) -> None:
        """The end of the response, or of an interim head."""
        exchange = cast("Exchange", self.exchange)
        if not exchange.status:
            exchange.headers.clear()
            return
        exchange.complete = self._news = True
        if not self._parser.should_keep_alive():
            self.usable = False
