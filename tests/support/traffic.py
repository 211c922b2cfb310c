"""Callers in the background: a steady rate of requests to a gateway, of which status and arm are counted."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import orjson

from tests.support.gateway import KEY


class Traffic:
    """A context manager: callers while its block runs. Users are `user-0` … `user-N`; none, where `users` is 0."""

    def __init__(
        self, url: str, model: str, *, rate: float, users: int = 0, stream: bool = False, connections: int = 8
    ) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._model, self._users, self._stream = model, users, stream
        self._pause = connections / rate
        self._connections = connections
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="traffic", daemon=True)
        self._sent = 0
        self.answers: Counter[tuple[int, str]] = Counter()
        """How many there were of each status and arm; status 0 is a broken connection, -1 a stream with an error."""
        self.seconds: list[float] = []
        """How long each took."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    @property
    def failures(self) -> dict[tuple[int, str], int]:
        """Answers that were none."""
        return {seen: count for seen, count in self.answers.items() if seen[0] != 200}

    def served(self, arm: str) -> int:
        """How many were answered by an arm."""
        return sum(count for (_, found), count in self.answers.items() if found == arm)

    async def _run(self) -> None:
        starts = [index * self._pause / self._connections for index in range(self._connections)]
        await asyncio.gather(*(self._caller(start) for start in starts))

    async def _caller(self, delay: float) -> None:
        await asyncio.sleep(delay)
        reader: asyncio.StreamReader | None = None
        writer: asyncio.StreamWriter | None = None
        due = time.monotonic()
        while not self._stopped.is_set():
            try:
                if reader is None or writer is None:
                    reader, writer = await asyncio.open_connection(self._host, self._port)
                began = time.monotonic()
                writer.write(self._request())
                self.answers[await _answer(reader)] += 1
                self.seconds.append(time.monotonic() - began)
            except (OSError, asyncio.IncompleteReadError):
                self.answers[0, ""] += 1
                if writer is not None:
                    writer.close()
                reader = writer = None
            due = max(due + self._pause, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _request(self) -> bytes:
        body = {"model": self._model, "messages": [{"role": "user", "content": "hi"}], "stream": self._stream}
        if self._users:
            body["user"] = f"user-{self._sent % self._users}"
        self._sent += 1
        content = orjson.dumps(body)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
        return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


async def _answer(reader: asyncio.StreamReader) -> tuple[int, str]:
    """Status and arm."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    status = int(head[0].split()[1])
    if "content-length" in headers:
        await reader.readexactly(int(headers["content-length"]))
    else:
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size + 2)
        await reader.readexactly(2)
        if b'data: {"error"' in body:
            status = -1
    return status, headers.get("x-sluicegate-arm", "")
