"""Proxies, and an HTTP/2 server, small enough to be read: what the general client talks to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import h2.config
import h2.connection
import h2.events

from tests.providers.scripted import Peer


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until one side ends."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def join(peer: Peer, port: int) -> None:
    """Connect a client with the server at `port`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await asyncio.gather(pipe(peer.reader, writer), pipe(reader, peer.writer))
    finally:
        writer.transport.abort()


def http_proxy(seen: list[bytes]) -> Callable[[Peer], Awaitable[None]]:
    """Forwards plain requests, tunnels CONNECT; notes the request lines."""

    async def script(peer: Peer) -> None:
        head = await peer.reader.readuntil(b"\r\n\r\n")
        line = head.split(b"\r\n", 1)[0]
        seen.append(line)
        if line.startswith(b"CONNECT"):
            await peer.send(b"HTTP/1.1 200 Connected\r\n\r\n")
            await join(peer, int(line.split()[1].rsplit(b":", 1)[1]))
            return
        port = int(line.split(b"/")[2].rsplit(b":", 1)[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head)
        try:
            await asyncio.gather(pipe(peer.reader, writer), pipe(reader, peer.writer))
        finally:
            writer.transport.abort()

    return script


def socks_proxy(seen: list[bytes]) -> Callable[[Peer], Awaitable[None]]:
    """SOCKS 5 without authentication, CONNECT only (RFC 1928); notes the host names."""

    async def script(peer: Peer) -> None:
        read = peer.reader.readexactly
        _, methods = await read(2)
        await read(methods)
        await peer.send(b"\x05\x00")
        kind = (await read(4))[3]
        host = await read((await read(1))[0] if kind == 3 else 4)
        seen.append(host)
        port = int.from_bytes(await read(2), "big")
        await peer.send(b"\x05\x00\x00\x01" + bytes(6))
        await join(peer, port)

    return script


class H2Peer:
    """One HTTP/2 connection as a server sees it, one request at a time."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.http.initiate_connection()
        self.stream = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    async def flush(self) -> None:
        """Send what is to be sent."""
        await self._peer.send(self.http.data_to_send())

    async def request(self) -> None:
        """Read a whole request."""
        self.body = b""
        while True:
            await self.flush()
            data = await self._peer.reader.read(65536)
            if not data:
                raise ConnectionResetError
            for event in self.http.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    self.stream = event.stream_id or 0
                    self.headers = {name.decode(): value.decode() for name, value in event.headers or ()}
                elif isinstance(event, h2.events.DataReceived):
                    self.body += event.data or b""
                    self.http.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
                elif isinstance(event, h2.events.StreamEnded):
                    return

    async def head(self, status: int = 200, **headers: str) -> None:
        """Send a response's head."""
        fields = [(":status", str(status)), *((name.replace("_", "-"), value) for name, value in headers.items())]
        self.http.send_headers(self.stream, fields)
        await self.flush()

    async def data(self, data: bytes, *, end: bool = False) -> None:
        """Send a piece of the body."""
        self.http.send_data(self.stream, data, end_stream=end)
        await self.flush()
