"""A connection of the upstream client without a socket, for tests that try thousands of byte sequences.

Beside it stands h11, which judges the same bytes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import h11

from app.errors import Failure
from app.exchange import Timeouts
from app.outbox import Outbox
from app.providers.http1 import Connection
from app.providers.reply import HttpReply
from app.vigil import Vigil


class Wire(asyncio.Transport):
    """A transport that remembers what is done to it. Beyond `room` bytes it asks to pause, as a full socket does."""

    def __init__(self) -> None:
        super().__init__()
        self.connection: Connection | None = None
        self.room = 1 << 20
        self.written = bytearray()
        self.aborted = False
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take what the client sends."""
        self.written += data
        if self.connection is not None and len(self.written) > self.room:
            self.connection.pause_writing()

    def abort(self) -> None:
        """Close."""
        self.aborted = True

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.aborted

    def pause_reading(self) -> None:
        """Hold the upstream back."""
        self.reading = False

    def resume_reading(self) -> None:
        """Let it go on."""
        self.reading = True


@dataclass
class Bench:
    """A connection on a wire, and where it went after each exchange."""

    wire: Wire = field(default_factory=Wire)
    idle: list[Connection] = field(default_factory=list)
    lost: list[Connection] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Connect."""
        loop = asyncio.get_running_loop()
        self.connection = Connection(loop, Outbox(loop), Vigil(loop), self.idle.append, self.lost.append)
        self.connection.connection_made(self.wire)
        self.wire.connection = self.connection

    def start(self, *, stream: bool = False, method: str = "POST", body: bytes = b"", room: int = 1 << 20) -> HttpReply:
        """Send a request over a socket that has so much room."""
        self.wire.room = room
        now = asyncio.get_running_loop().time()
        reply = HttpReply(Timeouts(), now + 60, now, stream=stream, head_only=method == "HEAD")
        self.connection.start(reply, b"POST / HTTP/1.1\r\n\r\n", body)
        return reply


@dataclass(frozen=True)
class Verdict:
    """What a client made of a response. Without `failure` it is complete."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    failure: Failure | None = None
    detail: str = ""


def joined(pairs: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Header fields by name, repeated ones joined."""
    headers: dict[str, str] = {}
    for name, value in pairs:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return tuple(sorted(headers.items()))


def ours(pieces: list[bytes], *, method: str = "POST") -> Verdict:
    """The verdict of `Connection` when the upstream sends these pieces and closes."""
    bench = Bench()
    reply = bench.start(method=method)
    for piece in pieces:
        if not bench.wire.aborted:
            bench.connection.data_received(piece)
    if not bench.wire.aborted:
        bench.connection.eof_received()
    bench.connection.connection_lost(None)
    body = b"".join(reply.parts)
    headers = joined(list(reply.headers.items()))
    failure, detail = reply.failure or (None, "")
    assert failure is not None or reply.complete
    return Verdict(reply.status, headers, body, failure, detail)


def theirs(pieces: list[bytes], *, method: str = "POST") -> Verdict | None:
    """h11's verdict; None where it rejects the bytes or finds them incomplete."""
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    client.send(h11.Request(method=method, target="/", headers=[("host", "a"), ("content-length", "0")]))
    client.send(h11.EndOfMessage())
    status, pairs, body = 0, [], b""
    try:
        for piece in [*pieces, b""]:
            client.receive_data(piece)
            while True:
                event = client.next_event()
                if isinstance(event, h11.Response):
                    status = event.status_code
                    pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers]
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    return Verdict(status, joined(pairs), body)
                elif not isinstance(event, h11.InformationalResponse):
                    break
    except h11.RemoteProtocolError:
        return None
    return None
