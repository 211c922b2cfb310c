"""A worker's line to the detector process: one connection, answers by number, bounded, and never waited for in vain."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

from app.safety.detector import DetectorFailure, Finding, Inspection
from app.safety.models import wire
from app.tasks import TaskGroup

MOST_WAITING = 1024
"""Questions of one worker that may be open at a time."""
MOST_UNSENT = 8 * 1024 * 1024
"""Bytes that may wait for a detector process that does not read."""
PAUSE = 0.2
"""Seconds between two tries to connect: while the process is down, questions fail at once."""
NOT_RUNNING = "the detector process is not running"


class Client:
    """Asks the detector process behind the Unix socket `path`. It connects when it is first asked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._line: _Line | None = None
        self._tasks = TaskGroup("detectors")
        self._dialling: asyncio.Task[None] | None = None
        self._not_before = 0.0
        self._numbers = 0

    async def ask(self, detector: str, within: float, inspection: Inspection) -> tuple[Finding, ...]:
        """What the detector finds. Raises `DetectorFailure`."""
        line = self._line
        if line is None or line.closed:
            line = await self._connect()
        self._numbers += 1
        return await line.ask(wire.Ask(self._numbers, detector, within, inspection))

    async def aclose(self) -> None:
        """Let go of the connection."""
        await self._tasks.aclose()
        if self._line is not None:
            self._line.close()

    async def _connect(self) -> _Line:
        """The connection, made by the first who needs it: one attempt serves everybody who waits."""
        if self._dialling is None or self._dialling.done():
            if asyncio.get_running_loop().time() < self._not_before:
                raise DetectorFailure(NOT_RUNNING)
            self._dialling = self._tasks.spawn("connect", self._dial())
        await asyncio.wait({self._dialling})
        if self._line is None or self._line.closed:
            raise DetectorFailure(NOT_RUNNING)
        return self._line

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, self._line = await loop.create_unix_connection(_Line, str(self._path))
        except OSError:
            self._not_before = loop.time() + PAUSE


class _Line(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self.closed = False
        self._frames = wire.Frames()
        self._waiting: dict[int, asyncio.Future[tuple[Finding, ...]]] = {}
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        try:
            for payload in self._frames.feed(data):
                self._answered(wire.read_answer(payload))
        except (ValueError, TypeError):
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio passes it
        self.closed = True
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(DetectorFailure("the detector process has gone"))

    def close(self) -> None:
        """Give the connection up; whoever waits is told."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    async def ask(self, question: wire.Ask) -> tuple[Finding, ...]:
        transport = self._transport
        if transport is None or self.closed:
            raise DetectorFailure("the detector process has gone")
        if len(self._waiting) >= MOST_WAITING or transport.get_write_buffer_size() > MOST_UNSENT:
            raise DetectorFailure(wire.OVERLOADED)
        future: asyncio.Future[tuple[Finding, ...]] = asyncio.get_running_loop().create_future()
        self._waiting[question.number] = future
        transport.write(wire.ask(question))
        try:
            return await future
        finally:
            if self._waiting.pop(question.number, None) is not None and not self.closed:
                transport.write(wire.forget(question.number))

    def _answered(self, answer: wire.Answer) -> None:
        future = self._waiting.pop(answer.number, None)
        if future is None or future.done():
            return
        if answer.error:
            future.set_exception(DetectorFailure(answer.error))
        else:
            future.set_result(answer.findings)
