"""Upstreams that are scripted byte by byte: raw servers on loopback sockets, in the test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from app.exchange import Endpoint, Outbound, Timeouts

SEGMENT_PAUSE = 0.001
"""Seconds between two pieces, so that the client reads them one by one."""

HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class Peer:
    """One connection as the server sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number
        """0 for the first connection."""

    async def request(self) -> tuple[bytes, bytes]:
        """The next request's head, without its empty line, and its body."""
        head = (await self.reader.readuntil(b"\r\n\r\n"))[:-4]
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        return head, await self.reader.readexactly(int(fields.get(b"content-length", b"0")))

    async def send(self, *pieces: bytes) -> None:
        """Send each piece as a segment of its own."""
        for index, piece in enumerate(pieces):
            if index:
                await asyncio.sleep(SEGMENT_PAUSE)
            self.writer.write(piece)
            await self.writer.drain()

    async def answer(self, *pieces: bytes) -> tuple[bytes, bytes]:
        """Read a request, then send the pieces."""
        request = await self.request()
        await self.send(*pieces)
        return request

    def finish(self) -> None:
        """Send FIN; reading goes on."""
        self.writer.write_eof()

    def reset(self) -> None:
        """Send RST."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Wait for the client to close."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


def own_time() -> float:
    """Seconds that pass while this process runs or sleeps, but not while it waits for a CPU (Linux only)."""
    waited = int(Path("/proc/self/schedstat").read_text().split()[1])
    return time.monotonic() - waited / 1e9


async def until(condition: Callable[[], object], within: float = 2.0) -> None:
    """Wait for something to become true; fails after so many seconds of `own_time`."""
    end = own_time() + within
    while not condition():
        assert own_time() < end
        await asyncio.sleep(0.002)


Script = Callable[[Peer], Awaitable[Any]]


class Scripted:
    """A server whose connections all run one script. A script that raises fails the test, at its end."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.accepted = 0
        self.port = 0

    def endpoint(self, host: str = "127.0.0.1", **options: Any) -> Endpoint:
        """Where it listens."""
        return Endpoint("http" if self._tls is None else "https", host, self.port, "/v1", **options)

    async def start(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close everything and raise what a script has raised."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        peer = Peer(reader, writer, self.accepted)
        self.accepted += 1
        try:
            await self._script(peer)
            writer.close()  # flushes first
        except (asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            writer.transport.abort()  # the test is over, or the client has hung up
        except BaseException:
            writer.transport.abort()
            raise


@contextlib.asynccontextmanager
async def serving(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Scripted]:
    """A server that runs `script` for every connection."""
    server = Scripted(script, tls)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def answering(*pieces: bytes) -> Script:
    """A script that answers every request with the same pieces."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.answer(*pieces)

    return script


def outbound(body: bytes = b"{}", *, method: str = "POST", stream: bool = False, path: str = "/chat") -> Outbound:
    """A small request."""
    return Outbound(method, path, (("content-type", "application/json"),), body, stream)


def soon(seconds: float = 5.0) -> float:
    """A deadline."""
    return asyncio.get_running_loop().time() + seconds


PATIENT = Timeouts(connect=5, first_token=5, between_tokens=5, total=5)
