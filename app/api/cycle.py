"""One request and its answer on a caller's connection: ASGI's `receive` and `send` over an asyncio transport.

Does what uvicorn's `RequestResponseCycle` does in a third of the time: the head of an answer leaves in one write with
the first piece of its body, header values are not searched for line breaks (they come from this program and from a
configuration that was checked), and nothing waits on an Event.
"""

from __future__ import annotations

import asyncio
import http
import logging
from collections.abc import Callable, MutableMapping
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl

from app.outbox import Outbox

_log = logging.getLogger("sluicegate")

Message = MutableMapping[str, Any]
BODY_FAULT = "sluicegate.body_fault"
"""A key of the scope: the `GatewayError` that a body has become which came too slowly or is not HTTP."""
OUTLET = "sluicegate.outlet"
"""A key of the scope: the request's `Cycle`, which takes pieces of a stream past ASGI once its head is out."""
REQUEST_ID = "sluicegate.request_id"
"""A key of the scope: the id of a request that is not the data plane's (whose `Progress` has it)."""


def _status_line(status: int) -> bytes:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


_STATUS_LINES = {status: _status_line(status) for status in range(100, 600)}
_CLOSE_LINE = b"connection: close\r\n"
_CHUNKED_LINE = b"transfer-encoding: chunked\r\n"
_NO_BODY = frozenset({204, 304})


_SIZE_LINES = [b"%x\r\n" % size for size in range(1024)]
"""The first lines of chunks as token streams have them; to write one takes longer than to copy the chunk."""


def _chunk(piece: bytes) -> bytes:
    """A piece of a body in chunked coding (RFC 9112, section 7.1)."""
    size = len(piece)
    line = _SIZE_LINES[size] if size < len(_SIZE_LINES) else b"%x\r\n" % size
    return line + piece + b"\r\n"


class Cycle:
    """A request whose head is here. Attributes without underscore are the protocol's to read and set."""

    __slots__ = (
        "_app", "_chunked", "_default_headers", "_flow", "_head", "_on_response", "_outbox", "_owed", "_waiter",
        "body", "disconnected", "expect_continue", "keep_alive", "more_body", "response_complete",
        "response_started", "scope", "transport",
    )  # fmt: skip

    def __init__(
        self,
        app: Callable[..., Any],
        scope: Message,
        transport: asyncio.Transport,
        flow: FlowControl,
        outbox: Outbox,
        default_headers: list[tuple[bytes, bytes]],
        on_response: Callable[[Cycle], None],
    ) -> None:
        self._app = app
        self.scope = scope
        self.transport = transport
        self._flow = flow
        self._outbox = outbox
        self._default_headers = default_headers
        self._on_response = on_response
        self._waiter: asyncio.Future[None] | None = None
        self._head: bytes | None = None
        self._chunked = False
        self._owed = True
        """Whether the application has not been told yet that the body is complete."""
        self.body = b""
        self.more_body = True
        self.expect_continue = False
        self.keep_alive = True
        self.disconnected = False
        self.response_started = False
        self.response_complete = False

    async def run(self) -> None:
        """Run the application; an answer that it leaves unfinished ends the connection."""
        self.scope[OUTLET] = self
        try:
            await self._app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            self.transport.close()
            raise
        except Exception:
            request_id = self.scope.get(REQUEST_ID)
            _log.exception("the application failed outside its own error handling", extra={"request_id": request_id})
        finally:
            del self.scope[OUTLET]  # it refers back to here
        if not self.response_complete and not self.disconnected:
            self.transport.close()

    def wake(self) -> None:
        """Something has changed that `receive` may be waiting for."""
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    async def receive(self) -> Message:
        """The body so far since the last call, or `http.disconnect`."""
        if self.expect_continue and not self.transport.is_closing():
            self.expect_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (self.body or (self._owed and not self.more_body) or self.disconnected or self.response_complete):
            if BODY_FAULT in self.scope:
                return {"type": "http.disconnect"}
            self._flow.resume_reading()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self.body = self.body, b""
        if self._flow.read_paused:
            self._flow.resume_reading()  # or nobody would notice that the caller leaves
        self._owed = self.more_body
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def send(self, message: Message) -> None:
        """Take a message of the answer; waits while the caller's socket is full."""
        if self._flow.write_paused and not self.disconnected:
            await self._flow.drain()
        if self.disconnected:
            return
        if message["type"] == "http.response.start":
            self._start(message["status"], message["headers"])
            return
        self._write(message.get("body", b""), last=not message.get("more_body", False))

    @property
    def full(self) -> bool:
        """Whether the caller's socket takes nothing at present."""
        return self._flow.write_paused

    def answer(self, lines: bytes, body: bytes) -> None:
        """Write a whole answer, 200 with these lines in its head, past `send`, when the socket is not `full`."""
        if self.disconnected:
            return
        if self.more_body:
            self.keep_alive = False
        if not self.keep_alive:
            lines += _CLOSE_LINE
        self.response_started = self.response_complete = True
        self.expect_continue = False
        head = b"HTTP/1.1 200 OK\r\n%b%bcontent-length: %d\r\n\r\n"
        answer = head % (self._defaults(), lines, len(body)) + body
        if self.keep_alive:
            self._outbox.write(self.transport, answer)
        else:  # the connection is closed at once
            self.transport.write(answer)
        self.wake()
        self._on_response(self)

    def begin(self, lines: bytes) -> None:
        """Begin a stream, 200 with these lines in its head, past `send`; the head leaves with the first piece."""
        self.response_started = True
        self.expect_continue = False
        if self.more_body:
            self.keep_alive = False
        if self.scope["http_version"] == "1.1":
            self._chunked = True
            lines += _CHUNKED_LINE
        if not self.keep_alive:
            lines += _CLOSE_LINE
        self._head = b"HTTP/1.1 200 OK\r\n%b%b\r\n" % (self._defaults(), lines)

    def write(self, piece: bytes, *, last: bool = False) -> None:
        """Write a piece of a stream, the first or the last among them, past `send`, when the socket is not `full`."""
        if not self.disconnected:
            self._write(piece, last=last)

    def relay(self, piece: bytes) -> bool:
        """Write a piece of a body that is under way, past `send`, when the socket is not `full`."""
        if not self.disconnected:
            self.transport.write(_chunk(piece) if self._chunked else piece)
        return True

    def _defaults(self) -> bytes:
        return b"".join([b"%b: %b\r\n" % one for one in self._default_headers])

    def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.response_started = True
        self.expect_continue = False
        if self.more_body:
            self.keep_alive = False  # the rest of the body passes unread, and whatever came after it would too
        lines = [_STATUS_LINES[status]]
        sized = status in _NO_BODY or self.scope["method"] == "HEAD"
        for name, value in self._default_headers:
            lines.append(b"%b: %b\r\n" % (name, value))
        for name, value in headers:
            if name == b"content-length":
                sized = True
            elif name == b"connection" and value == b"close":
                self.keep_alive = False
                continue
            lines.append(b"%b: %b\r\n" % (name, value))
        if not sized and self.scope["http_version"] == "1.1":  # before that the connection's end is the body's
            self._chunked = True
            lines.append(_CHUNKED_LINE)
        if not self.keep_alive:
            lines.append(_CLOSE_LINE)
        lines.append(b"\r\n")
        self._head = b"".join(lines)

    def _write(self, body: bytes, *, last: bool) -> None:
        if self.scope["method"] == "HEAD":
            body = b""
        elif self._chunked:
            body = _chunk(body) if body else b""
            if last:
                body += b"0\r\n\r\n"
        if self._head is not None:
            body = self._head + body
            self._head = None
        if body:
            self.transport.write(body)
        if last:
            self.response_complete = True
            self.wake()
            self._on_response(self)
