"""An upstream that says what it was told to say, and remembers what it was asked. One request at a time."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

BREATH_S = 0.0005
"""Between two pieces: each arrives alone, mostly."""


class Told:
    """An async context manager: a server on a free port of the loopback, in the running loop."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bytes]] = []
        """Method, path and body of what came."""
        self.reply: tuple[int, str, list[bytes]] = (404, "application/json", [b"{}"])
        """Status, content type, and the pieces of the body."""
        self.breath = False
        """Whether there is a pause between the pieces."""
        self.url = ""
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError), contextlib.closing(writer):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
                body = await reader.readexactly(int(fields.get("content-length", 0)))
                method, path, _ = head[0].split(" ")
                self.asked.append((method, path, body))
                await self._say(writer)

    async def _say(self, writer: asyncio.StreamWriter) -> None:
        status, kind, pieces = self.reply
        head = f"HTTP/1.1 {status} Told\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"
        parts = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece]
        if not self.breath:
            parts = [b"".join(parts)]
        writer.write(head.encode())
        for part in parts:
            writer.write(part)
            await writer.drain()
            if self.breath:
                await asyncio.sleep(BREATH_S)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
