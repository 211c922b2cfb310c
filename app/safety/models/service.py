"""The detector process: one for all workers, so that a model is in memory once and no event loop waits for it.

Questions that arrive while others are being answered wait, and are answered together afterwards where that is worth
something (`MOST_TOGETHER`). There is one thread for the models (`--threads` for more) and one loop for the sockets, so
that a full queue is said at once.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from app.safety.models import wire
from app.safety.models.profiles import load
from app.tasks import TaskGroup, come_as_usual

_log = logging.getLogger("sluicegate")
LATER = 5
"""Niceness: where cores are short, workers come first."""
MOST_TOGETHER = 1
"""Questions answered in one go. On a CPU each costs about as much in a batch (`full`: 20 ms, alone or in sixteens), and
a batch comes back to a worker at once: what waited for it goes on in one burst, before every other request."""


Work = Callable[[Sequence[wire.Ask]], list[wire.Answer]]


class _Waiting(NamedTuple):
    question: wire.Ask
    line: Line
    until: float


class Service:
    """Takes questions from every connection, answers them in batches, refuses what is more than `most` at a time."""

    def __init__(self, work: Work, most: int, threads: int = 1) -> None:
        self._work = work
        self._most = most
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="models")
        self._queue: deque[_Waiting] = deque()
        self._running = 0
        self._tasks = TaskGroup("models")
        self._loop = asyncio.get_running_loop()

    async def aclose(self) -> None:
        """Stop; who waits is told by the end of the connection."""
        await self._tasks.aclose()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def take(self, question: wire.Ask, line: Line) -> None:
        """Queue a question, or refuse it."""
        if len(self._queue) >= self._most:
            line.send(wire.Answer(question.number, error=wire.OVERLOADED))
            return
        self._queue.append(_Waiting(question, line, self._loop.time() + question.within))
        self._start()

    def drop(self, line: Line, number: int | None = None) -> None:
        """Forget a question that nobody waits for, or all of a connection that is gone."""
        kept = [one for one in self._queue if one.line is not line or number not in (None, one.question.number)]
        if len(kept) < len(self._queue):
            self._queue = deque(kept)

    def _start(self) -> None:
        while self._queue and self._running < self._threads:
            self._running += 1
            self._tasks.spawn("batch", self._answer())

    async def _answer(self) -> None:
        try:
            batch = self._batch()
            if batch:
                await self._ask(batch)
        finally:
            self._running -= 1
            self._start()

    def _batch(self) -> list[_Waiting]:
        now = self._loop.time()
        batch: list[_Waiting] = []
        while self._queue and len(batch) < MOST_TOGETHER:
            one = self._queue.popleft()
            if one.until > now:
                batch.append(one)
        return batch

    async def _ask(self, batch: list[_Waiting]) -> None:
        questions = [one.question for one in batch]
        try:
            answers = await self._loop.run_in_executor(self._pool, self._work, questions)
        except (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
            # The kind of error only: its text may hold a piece of the prompt.
            _log.error("the models failed", extra={"error": type(error).__name__, "questions": len(batch)})
            answers = [wire.Answer(one.question.number, error=wire.BROKEN) for one in batch]
        for one, answer in zip(batch, answers, strict=True):
            one.line.send(answer)


class Line(asyncio.Protocol):
    """One connection of a worker."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._frames = wire.Frames()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what create_unix_server makes
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take what was asked; whoever talks nonsense is cut off."""
        try:
            for payload in self._frames.feed(data):
                asked = wire.read_question(payload)
                if isinstance(asked, int):
                    self._service.drop(self, asked)
                else:
                    self._service.take(asked, self)
        except (TypeError, ValueError):
            if self._transport is not None:
                self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio passes it
        """Nobody waits for the rest."""
        self._transport = None
        self._service.drop(self)

    def send(self, answer: wire.Answer) -> None:
        """Send an answer, if somebody is still there."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(wire.answer(answer))


async def serve(path: Path, service: Service, ready: Callable[[], None]) -> None:
    """Listen at `path` until standard input ends: whoever started the process holds its other end."""
    loop = asyncio.get_running_loop()
    # Who sees the socket may connect: it gets its name once somebody listens behind it.
    unnamed = path.with_suffix(".new")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(unnamed)  # noqa: PTH108 - before anybody is served
    server = await loop.create_unix_server(lambda: Line(service), str(unnamed))
    os.chmod(unnamed, 0o600)  # noqa: PTH101 - before anybody is served
    os.replace(unnamed, path)  # noqa: PTH105 - before anybody is served
    gone = loop.create_future()

    def look() -> None:
        if not os.read(sys.stdin.fileno(), 4096) and not gone.done():
            gone.set_result(None)

    loop.add_reader(sys.stdin.fileno(), look)
    ready()
    try:
        await gone
    finally:
        loop.remove_reader(sys.stdin.fileno())
        server.close()
        await service.aclose()


def _say_so() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()


async def _run(arguments: argparse.Namespace) -> None:
    os.nice(LATER)
    come_as_usual()
    engine = load(arguments.profile)
    service = Service(engine.answer, arguments.queue, arguments.threads)
    await serve(arguments.socket, service, _say_so)


def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m app.safety.models.service`: what the gateway starts."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--profile", default="full")
    parser.add_argument("--queue", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    asyncio.run(_run(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()
