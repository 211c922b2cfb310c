"""HTTP/1.1 to an upstream (RFC 9112): a connection as an asyncio protocol on httptools.

The hot path: no task, no queue, no timer per request or per piece. `send` and `read` wait on one future at a time,
which `data_received` sets after it has parsed everything that came in one go; so an answer that arrives in one segment
costs one suspension. Each connection keeps one timer across its requests and moves it only when it would fire too late.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import Callable
from typing import Final, cast

import httptools

from app.errors import Failure
from app.outbox import Outbox
from app.providers.failures import PARSER_ERRORS, describe
from app.providers.reply import NOBODY, HttpReply
from app.vigil import Vigil

MAX_HEAD: Final = 64 * 1024
"""Bytes of a response's head, 1xx heads before it included; also of what comes between two pieces of a body."""
MAX_HEADERS: Final = 256
DRAIN: Final = 0.5
"""Seconds that the rest of a body may take whose answer is complete."""
HIGH_WATER: Final = 128 * 1024
"""Unread bytes of a body above which reading from the socket pauses; one segment (≤ 256 KiB) can come on top."""
WRITE_SLICE: Final = 64 * 1024
"""Bodies up to this leave in one write with their head; longer ones in slices, as the socket takes them."""
TICK: Final = 0.002
"""Seconds by which a timer may be early: uvloop counts in milliseconds."""


_MOST_CHUNK: Final = 1024
"""Bytes of chunks that `_one_chunk` knows: short ones, as token streams are made of."""


def _first_lines(digits: str) -> list[bytes]:
    """By the bytes of a whole chunk its first line, a size in hexadecimal; where none is so long, what begins none."""
    lines = [b"\0"] * (_MOST_CHUNK + 1)
    for size in range(1, _MOST_CHUNK):
        line = f"{size:{digits}}\r\n".encode()
        if (whole := len(line) + size + 2) <= _MOST_CHUNK:
            lines[whole] = line
    return lines


_LOWER: Final = _first_lines("x")
_UPPER: Final = _first_lines("X")


def _one_chunk(data: bytes) -> bytes:
    """What a chunk holds, where `data` is exactly that chunk, and a short one; else nothing."""
    whole = len(data)
    if whole > _MOST_CHUNK or not data.endswith(b"\r\n"):
        return b""
    line = _LOWER[whole]
    if not data.startswith(line):
        line = _UPPER[whole]
        if not data.startswith(line):
            return b""
    return data[len(line) : -2]


class _Refused(Exception):
    """Raised inside a parser callback: the response breaks a bound or asks for something that is not spoken here."""


class Connection(asyncio.Protocol):
    """One connection; at most one exchange at a time.

    `idle` is called when an exchange has ended and another may begin; `lost` once, when the connection is gone.
    """

    __slots__ = (
        "_aligned", "_fed", "_fields", "_idle", "_loop", "_lost", "_outbox", "_parser", "_poll", "_time", "_timer",
        "_timer_at", "_unsent", "_vigil", "_write_paused", "create_future", "idle_since", "made", "paused", "reply",
        "transport", "usable", "waiter",
    )  # fmt: skip

    __deletable__ = ("_parser",)
    transport: asyncio.Transport

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        outbox: Outbox,
        vigil: Vigil,
        idle: Callable[[Connection], None],
        lost: Callable[[Connection], None],
    ) -> None:
        self._loop = loop
        self._outbox = outbox
        self._vigil = vigil
        self._time = loop.time
        self.create_future = loop.create_future
        self._idle = idle
        self._lost = lost
        self._parser = httptools.HttpResponseParser(self)
        self.waiter: asyncio.Future[None] | None = None
        """Resolved at the next news of the reply: its head, a piece of its body, its end or its failure."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._fields: list[tuple[bytes, bytes]] = []
        self._aligned = False  # the parser stands before the first byte of a chunk
        self._fed = 0  # bytes since the request or since the last piece of a body
        self._unsent: memoryview | None = None
        self._write_paused = False
        self._poll: select.poll | None = None
        self.reply = NOBODY
        self.idle_since = 0.0
        self.paused = False
        self.made = False
        """Whether it was ever open."""
        self.usable = True
        """Whether another exchange may begin on it; false for good once it is closing or out of step."""

    # --- the client's side

    def start(self, reply: HttpReply, head: bytes, body: bytes) -> None:
        """Send a request. The connection must be fresh or just out of the pool."""
        if not self.usable:
            reply.failure = (Failure.CLOSED, "closed by the upstream before the request")
            self.abort()
            return
        self.reply = reply
        reply.connection = self
        reply.sent = True
        self._fed = 0
        due = reply.due() if reply.stream else reply.deadline
        if self._timer is None or due < self._timer_at:
            self._arm(due)
        if len(body) <= WRITE_SLICE:
            self._outbox.write(self.transport, head + body)
        else:
            self.transport.write(head)
            self._unsent = memoryview(body)
            self._pump()

    def finish(self, reply: HttpReply, *, drain: bool) -> None:
        """The reply lets go: keep the connection if it is in step with the upstream, or soon will be, else abort it."""
        if self.reply is not reply:
            return
        if drain and self._may_drain(reply):
            reply.draining = True
            reply.stream = False
            reply.deadline = self._time() + DRAIN
            self._arm(reply.deadline)
            if self.paused:
                self.unpause()
            return
        self.reply = NOBODY
        if reply.complete and self.usable and self._unsent is None:
            if self.paused:
                self.unpause()
            self._idle(self)
            return
        if not reply.complete and reply.failure is None:
            reply.failure = (Failure.TRUNCATED, "closed by the gateway before the end")
        self.abort()
        self._wake()

    def _may_drain(self, reply: HttpReply) -> bool:
        """Whether the end of the body is worth waiting for: servers send it a moment after their last event."""
        sound = reply.failure is None and self.usable and self._unsent is None
        return sound and not reply.complete and reply.unread <= HIGH_WATER

    def quiet(self) -> bool:
        """Whether the upstream has neither closed nor sent anything that the loop has yet to see."""
        poll = self._poll
        if poll is None:
            poll = self._poll = select.poll()
            poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not poll.poll(0)

    def unpause(self) -> None:
        """Read from the socket again."""
        self.paused = False
        self.reply.since = self._time()
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def abort(self) -> None:
        """Close at once, without flushing."""
        self.usable = False
        self._unsent = None
        if self.made:
            self.transport.abort()

    def _fail(self, failure: Failure, detail: str) -> None:
        """The reply, if it still needs the connection, has failed; the connection is of no more use."""
        reply = self.reply
        if not reply.complete and reply.failure is None:
            reply.failure = (failure, detail)
        self.abort()
        self._wake()

    def _wake(self) -> None:
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _pump(self) -> None:
        while self._unsent is not None and not self._write_paused:
            piece = self._unsent[:WRITE_SLICE]
            self._unsent = self._unsent[WRITE_SLICE:] or None
            self.transport.write(piece)

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._loop.call_at(due, self._on_timer)

    def _begin(self, reply: HttpReply) -> None:
        """A stream's first byte is here: from now on the shorter patience between two counts, and the timer with it."""
        reply.begun = True
        reply.patience = reply.between
        due = reply.due()
        if due < self._timer_at:
            self._arm(due)

    def _on_timer(self) -> None:
        self._timer = None
        reply = self.reply
        if reply.complete:
            return
        now = self._time() + TICK
        if self.paused:
            reply.since = now
        due = reply.due()
        if due > now:
            self._arm(due)
        else:
            self._fail(*reply.timed_out(now))

    # --- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open, TLS included."""
        self.transport = cast("asyncio.Transport", transport)
        self.made = True
        if not self.usable:  # given up on while it was being opened
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse what came, then wake whoever waits, once; not a reader whose tap has taken it."""
        self._vigil.heard()
        reply = self.reply
        if reply.complete or reply.failure is not None:
            self.abort()  # nobody asked for it: the 408 of a server that hangs up, or garbage
            return
        reply.touched = True
        if self._aligned and (piece := _one_chunk(data)):  # the parser would say no more, and stand where it stands
            reply.parts.append(piece)
            reply.unread += len(piece)
        elif not self._parse(data):
            return
        if reply.parts:
            if self._piece_came(reply):
                return
        elif self._fed > MAX_HEAD and not self.reply.complete:
            self._fail(Failure.PROTOCOL, f"more than {MAX_HEAD} bytes of head, trailers or chunk extensions")
            return
        if reply.draining:
            if self.reply.complete or reply.unread > HIGH_WATER:
                self.finish(reply, drain=False)
        elif reply.status and (waiter := self.waiter) is not None:
            self.waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _piece_came(self, reply: HttpReply) -> bool:
        """More of a body is here: whether it is dealt with, and its reader may sleep on."""
        self._fed = 0
        if reply.stream:
            reply.since = self._time()
            if not reply.begun:
                self._begin(reply)
        if reply.tap is not None and not reply.complete and reply.tapped():
            return True
        if reply.unread > HIGH_WATER and not self.paused and not reply.complete:
            self.paused = True
            self.transport.pause_reading()
        return False

    def _parse(self, data: bytes) -> bool:
        """Feed the parser; false when that was the end of the connection."""
        self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except PARSER_ERRORS as error:
            cause = error.__context__
            self._fail(Failure.PROTOCOL, describe(cause if isinstance(cause, _Refused) else error))
            return False
        if not data.endswith(b"\r\n"):
            self._aligned = False  # behind the end of a chunk there is the beginning of the next one's first line
        return True

    def eof_received(self) -> None:
        """The upstream will send no more: the end of a body without a length. Of others `connection_lost` judges."""
        self.usable = False
        reply = self.reply
        if reply.status and reply.failure is None and reply.until_close() and not self._cut():
            reply.complete = True
            self._wake()

    def _cut(self) -> bool:
        """Whether a TLS stream ended without `close_notify`, which anybody on the way can bring about."""
        tls = self.transport.get_extra_info("ssl_object")
        try:
            return tls is not None and tls.read(1) != b""
        except ssl.SSLError:
            return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self.usable = False
        self._unsent = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        reply = self.reply
        if not reply.complete and reply.failure is None:
            failure = Failure.TRUNCATED if reply.touched else Failure.CLOSED
            reply.failure = (failure, describe(exc) if exc is not None else "closed by the upstream")
        self._lost(self)
        self._wake()
        del self._parser  # it refers back to here, and would keep all of it until the next full garbage collection

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
        if self.reply.complete:
            raise _Refused("bytes after the end of the response")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header line or, after the body, a trailer; trailers are dropped."""
        self._fields.append((name, value))
        if 16 <= len(name) <= 17:
            self._coding(name.lower(), value)

    def _coding(self, name: bytes, value: bytes) -> None:
        reply = self.reply
        if name == b"content-encoding":
            reply.encoded = True
        elif name == b"transfer-encoding":
            if reply.chunked or value.strip().lower() != b"chunked":
                raise _Refused(f"transfer-encoding {value!r}")
            reply.chunked = True

    def on_headers_complete(self) -> None:
        """A head is complete: an interim one is skipped, the final one wakes `send`."""
        status = self._parser.get_status_code()
        fields = self._fields
        self._fields = []
        if len(fields) > MAX_HEADERS:
            raise _Refused(f"more than {MAX_HEADERS} headers")
        if self._fed > MAX_HEAD and sum(len(name) + len(value) + 4 for name, value in fields) > MAX_HEAD:
            raise _Refused(f"a head of more than {MAX_HEAD} bytes")
        reply = self.reply
        if status < 200:
            if status < 100 or status == 101:
                raise _Refused(f"status {status}")
            if reply.chunked:
                raise _Refused("an interim response with a body")
            reply.encoded = False
            return
        reply.fields = fields
        reply.status = status
        if reply.head_only:
            reply.complete = True
            self.usable = False  # the parser expects the body that a HEAD's head announces

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        reply = self.reply
        if not reply.status:
            raise _Refused("an interim response with a body")
        if not reply.complete:
            reply.parts.append(data)
            reply.unread += len(data)

    def on_chunk_header(self) -> None:
        """The first line of a chunk, the last one of a body included."""
        self._aligned = False

    def on_chunk_complete(self) -> None:
        """A chunk is complete with its own end of line."""
        self._aligned = True

    def on_message_complete(self) -> None:
        """The end of the response, or of an interim head."""
        reply = self.reply
        if self._fields:
            self._fields = []
        self._aligned = False
        if reply.status:
            reply.complete = True
            if not self._parser.should_keep_alive():
                self.usable = False
