"""Callers' connections: HTTP/1.1 on httptools, run by uvicorn's server, bounded in time and size.

uvicorn's own protocol tells an application that its caller has left only when asked through `receive`, and a task that
asks costs more than the rest of the relay. Here the request's own task is cancelled, with `progress.LEFT` as its
message. Bounds: time for a head, a body, and for a caller that leaves its full socket unread; size of a head.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar, cast
from urllib.parse import unquote

import httptools
import orjson
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.server import ServerState

from app.api.cycle import BODY_FAULT, Cycle
from app.errors import INVALID_REQUEST, REQUEST_TIMEOUT, REQUEST_TOO_LARGE, GatewayError
from app.outbox import Outbox
from app.pipeline.progress import LEFT
from app.vigil import Vigil

MAX_HEAD = 64 * 1024
MAX_BUFFERED = 64 * 1024
MOST_WAITING = 16
"""Pipelined requests that wait for those before them; at so many no more is read from their connection."""
LINGER = 2.0
"""Seconds in which the rest of a refused request passes unread. Closing at once would reset the connection, and the
caller might lose the answer with it."""
_NOT_HTTP = "The request is not valid HTTP/1.1."
_IDLE, _HEAD, _BODY, _LINGER = range(4)
_METHODS = {b"GET": "GET", b"POST": "POST"}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds: for a head and a body to arrive, for an idle connection to be kept, for a full socket to be read."""

    head: float = 15.0
    body: float = 60.0
    idle: float = 75.0
    unread: float = 60.0


class Protocol(asyncio.Protocol):
    """One caller's connection. The constructor and `shutdown` are what uvicorn's server asks for.

    `phase` is where the parser stands: between requests, in a head, in a body, or past caring for the rest of a body
    that was refused. `due` is the time limit of an incomplete head or body; complete ones never set a timer.
    `running` serves the connection's requests one after another (a task for each would take 3 µs more): it takes the
    one that is `starting`, or waits on `idle`. uvicorn's set of tasks holds it while it serves.
    """

    __deletable__ = ("parser",)
    bounds: ClassVar[Bounds] = Bounds()
    outbox: ClassVar[Outbox]
    vigil: ClassVar[Vigil]

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.loop = _loop or asyncio.get_running_loop()
        self.app = config.loaded_app
        self.state = server_state
        self.app_state = app_state
        self.parser = httptools.HttpRequestParser(self)
        self.cycle: Cycle | None = None
        self.waiting: deque[Cycle] = deque()
        self.starting: Cycle | None = None
        self.running: asyncio.Task[None] | None = None
        self.idle: asyncio.Future[None] | None = None
        self.phase = _IDLE
        self.head_size = 0
        self.idle_since = self.loop.time()
        self.stall: asyncio.TimerHandle | None = None
        self.due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A caller has connected: its first head is due."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self.flow = FlowControl(self.transport)
        self.client = transport.get_extra_info("peername")
        self.server = transport.get_extra_info("sockname")
        self.state.connections.add(self)  # type: ignore[arg-type]  # uvicorn names its own protocols
        self.due = self.loop.call_later(self.bounds.head, self._late)
        self.idle_check = self.loop.call_later(self.bounds.idle, self._look_idle)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio passes it
        """The caller has gone: whatever is still being done for it stops."""
        self.state.connections.discard(self)
        self.idle_check.cancel()
        self._stop_due()
        if self.stall is not None:
            self.stall.cancel()
        self.flow.resume_writing()
        self.waiting.clear()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.wake()
            if self.running is not None and self.starting is None:
                self.running.cancel(LEFT)
        self.starting = None
        self._wake()
        # These refer back to here: without them a closed connection's memory is free at once, not at the next full
        # garbage collection.
        del self.parser
        self.cycle = self.running = None

    def data_received(self, data: bytes) -> None:
        """Feed the parser. A head must stay within its bound; what is not complete at once gets a time limit."""
        self.vigil.heard()
        if self.phase == _LINGER:
            return
        if self.phase == _IDLE:
            self.phase = _HEAD
        if self.phase == _HEAD:
            self.head_size += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            if not self._decline(data[offer.args[0] :]):
                return
        except httptools.HttpParserError as error:
            self._spoilt(error.__context__)
            return
        if self.phase == _IDLE:
            return
        if self.phase == _HEAD and self.head_size > MAX_HEAD:
            self._refuse(_head_too_large())
        elif self.due is None:
            self.due = self.loop.call_later(self.bounds.body if self.phase == _BODY else self.bounds.head, self._late)

    def on_message_begin(self) -> None:
        """A head begins."""
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.expect_continue = False

    def on_url(self, url: bytes) -> None:
        """The target, or a piece of it."""
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        name = name.lower()
        self.headers.append((name, value))
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_continue = True

    def on_headers_complete(self) -> None:
        """The head is complete: its request begins, or waits for the one before it."""
        if self.head_size > MAX_HEAD and len(self.url) + sum(len(n) + len(v) + 4 for n, v in self.headers) > MAX_HEAD:
            raise _head_too_large()
        self.phase = _BODY
        self._stop_due()
        scope = self._scope()
        cycle = Cycle(
            self.app, scope, self.transport, self.flow, self.outbox, self.state.default_headers, self._answered
        )
        cycle.expect_continue = self.expect_continue
        cycle.keep_alive = self.parser.should_keep_alive() and scope["http_version"] == "1.1"
        before, self.cycle = self.cycle, cycle
        if before is None or before.response_complete:
            self._start(cycle)
        else:
            self.waiting.append(cycle)
            if len(self.waiting) >= MOST_WAITING:
                self.flow.pause_reading()

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        cycle = cast("Cycle", self.cycle)
        if cycle.response_complete:
            return
        cycle.body = cycle.body + body if cycle.body else body
        if len(cycle.body) > MAX_BUFFERED:
            self.flow.pause_reading()
        cycle.wake()

    def on_message_complete(self) -> None:
        """The request is complete: what comes next is another's head."""
        self.phase = _IDLE
        self.head_size = 0
        self._stop_due()
        cycle = cast("Cycle", self.cycle)
        cycle.more_body = False
        cycle.wake()

    def shutdown(self) -> None:
        """The server stops: an idle connection ends now, a busy one with its answer."""
        self.outbox.flush()
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    def pause_writing(self) -> None:
        """The caller's socket is full: reading from the upstream stops, and the caller's time runs."""
        self.flow.pause_writing()
        self.stall = self.loop.call_later(self.bounds.unread, self.transport.abort)

    def resume_writing(self) -> None:
        """The caller reads on."""
        self.flow.resume_writing()
        if self.stall is not None:
            self.stall.cancel()
            self.stall = None

    def _scope(self) -> dict[str, Any]:
        url, query = self.url, b""
        if b"?" in url:
            url, _, query = url.partition(b"?")
        path = url.decode("ascii", "replace")
        method = self.parser.get_method()
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": self.parser.get_http_version(),
            "server": self.server,
            "client": self.client,
            "scheme": "http",
            "root_path": "",
            "method": _METHODS.get(method) or method.decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "raw_path": url,
            "query_string": query,
            "headers": self.headers,
            "state": self.app_state.copy(),
        }

    def _start(self, cycle: Cycle) -> None:
        self.starting = cycle
        if self.running is None or self.running.done():
            self.running = self.loop.create_task(self._serve())
        else:
            self._wake()
        self.state.tasks.add(self.running)

    def _wake(self) -> None:
        idle, self.idle = self.idle, None
        if idle is not None and not idle.done():
            idle.set_result(None)

    async def _serve(self) -> None:
        task = self.running
        try:
            while not self.transport.is_closing():
                cycle = self.starting
                if cycle is None:
                    self.state.tasks.discard(cast("asyncio.Task[None]", task))
                    self.idle = idle = self.loop.create_future()
                    await idle
                else:
                    self.starting = None
                    await cycle.run()
        finally:
            self.state.tasks.discard(cast("asyncio.Task[None]", task))

    def _next(self) -> None:
        """The next of the pipelined requests; its body, if it is not complete, is due from now on."""
        self.outbox.flush()
        if self.phase == _BODY:
            self._stop_due()
            self.due = self.loop.call_later(self.bounds.body, self._late)
        self._start(self.waiting.popleft())

    def _answered(self, cycle: Cycle) -> None:
        """An answer is out. When its request was refused before it was read, the rest of it is let pass unread."""
        self.state.total_requests += 1
        if self.transport.is_closing():
            return
        if cycle is self.cycle and self.phase == _BODY:
            self._linger()
        elif not cycle.keep_alive:
            self.transport.close()
        elif self.waiting:
            self._next()
        else:
            self.idle_since = self.loop.time()
            if self.flow.read_paused:
                self.flow.resume_reading()

    def _late(self) -> None:
        """A head or a body did not arrive in time."""
        self.due = None
        if self.phase == _BODY and self.waiting:
            self.due = self.loop.call_later(self.bounds.body, self._late)  # nobody has asked for its body yet
        elif self.phase == _BODY and self.cycle is not None:
            self.cycle.scope[BODY_FAULT] = GatewayError(REQUEST_TIMEOUT, "The request's body did not arrive in time.")
            self.cycle.wake()
        elif self.head_size == 0:
            self.transport.close()
        else:
            message = f"The request's head did not arrive within {self.bounds.head:g} s."
            self._refuse(GatewayError(REQUEST_TIMEOUT, message))

    def _look_idle(self) -> None:
        """One timer per connection, not per request: close what is idle too long, else look again when it could be."""
        left = self.bounds.idle
        if self.phase == _IDLE and (self.cycle is None or self.cycle.response_complete):
            left = self.idle_since + self.bounds.idle - self.loop.time()
            if left <= 0:
                self._end()
                return
        self.idle_check = self.loop.call_later(left, self._look_idle)

    def _stop_due(self) -> None:
        if self.due is not None:
            self.due.cancel()
            self.due = None

    def _decline(self, rest: bytes) -> bool:
        """Nothing is upgraded here: what follows the head is the body, not another protocol as the parser has it.

        Java's client offers h2c with every request. Returns whether `rest` is HTTP.
        """
        cycle = cast("Cycle", self.cycle)
        cycle.keep_alive = False
        cycle.more_body = True
        self.phase = _BODY
        self.parser = httptools.HttpRequestParser(_Body(self))
        framing = [b"%b: %b\r\n" % one for one in self.headers if one[0] in (b"content-length", b"transfer-encoding")]
        try:
            self.parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % b"".join(framing))
            self.parser.feed_data(rest)
        except httptools.HttpParserError:
            self._spoilt(None)
            return False
        return True

    def _spoilt(self, cause: BaseException | None) -> None:
        """What came is not HTTP. Inside a body it is its request's fault; else it never becomes a request."""
        error = cause if isinstance(cause, GatewayError) else GatewayError(INVALID_REQUEST, _NOT_HTTP)
        if self.phase == _BODY and self.cycle is not None:
            self.cycle.scope[BODY_FAULT] = error
            self.cycle.wake()
        else:
            self._refuse(error)

    def _refuse(self, error: GatewayError) -> None:
        """Answer what never became a request, and close. Behind an answer that is under way there is just the close."""
        self._stop_due()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
            self.phase = _LINGER
            return
        self.outbox.flush()
        if self.transport.is_closing():
            return
        body = orjson.dumps(error.document())
        head = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (error.status, HTTPStatus(error.status).phrase.encode(), len(body)) + body)
        self._linger()

    def _linger(self) -> None:
        """Nothing more is answered here: say so, and let what still comes pass unread for a while."""
        self._stop_due()
        self.phase = _LINGER
        self.flow.resume_reading()
        self.transport.write_eof()
        self.due = self.loop.call_later(LINGER, self._end)

    def _end(self) -> None:
        """Close. What the caller has left unread until now is thrown away: it would keep the connection for ever."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()


class _Body:
    """What a parser tells when its head was told by another parser."""

    def __init__(self, protocol: Protocol) -> None:
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete


def _head_too_large() -> GatewayError:
    return GatewayError(REQUEST_TOO_LARGE, f"The request's head is over {MAX_HEAD} bytes.", status=431)
