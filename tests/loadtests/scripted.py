"""A server that answers every request with the same pieces of bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from loadtests.client import Target

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass(slots=True)
class Scripted:
    """What it did: requests that it read, connections that it had, and connections that its callers ended."""

    target: Target
    requests: int = 0
    connections: int = 0
    ended: int = 0


@asynccontextmanager
async def scripted(*pieces: bytes, pause: float = 0.0, hang_up: bool = False) -> AsyncIterator[Scripted]:
    """Pieces go out `pause` seconds apart; with `hang_up` the connection is closed after them."""
    seen = Scripted(Target("127.0.0.1", 0))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
                await reader.readexactly(length)
                seen.requests += 1
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(pause)
                if hang_up:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            seen.ended += 1
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    seen.target = Target("127.0.0.1", server.sockets[0].getsockname()[1])
    try:
        yield seen
    finally:
        server.close()
        await asyncio.sleep(0.02)
