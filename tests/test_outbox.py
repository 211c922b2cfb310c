"""The writes of one turn of the loop leave together and in order; the first of them, and whatever is alone, at once."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import uvloop

from app.outbox import MOST, Outbox


class Ends:
    """One connection: where it is written to, and what has come out of its other end so far."""

    def __init__(self, transport: asyncio.Transport, far: socket.socket) -> None:
        self.transport = transport
        self._far = far

    @property
    def came(self) -> bytes:
        """Everything that was not asked for yet."""
        try:
            return self._far.recv(1 << 16)
        except BlockingIOError:
            return b""


@pytest.fixture(params=["uvloop", "asyncio"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    """A loop of either kind."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        yield runner


@asynccontextmanager
async def connected() -> AsyncIterator[Ends]:
    """A new connection."""
    near, far = socket.socketpair()
    with far:
        far.settimeout(0)
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=near)
        yield Ends(transport, far)
        transport.abort()
        await asyncio.sleep(0.01)


def test_the_first_write_of_a_turn_leaves_at_once_and_the_others_at_its_end(runner: asyncio.Runner) -> None:
    """In the order in which they were written; then the next turn's first leaves at once again."""

    async def write() -> None:
        outbox = Outbox(asyncio.get_running_loop())
        async with connected() as one, connected() as two:
            for _ in range(3):
                for number, ends in enumerate((one, two, one, two)):
                    outbox.write(ends.transport, b"%d" % number)
                assert (one.came, two.came) == (b"0", b"")
                await asyncio.sleep(0)
                assert (one.came, two.came) == (b"2", b"13")

    runner.run(write())


def test_no_more_than_so_many_wait(runner: asyncio.Runner) -> None:
    """The work on many requests delays none of them for long."""

    async def write() -> None:
        outbox = Outbox(asyncio.get_running_loop())
        async with connected() as ends:
            for number in range(MOST):
                outbox.write(ends.transport, b"%x" % number)
            assert ends.came == b"0"
            outbox.write(ends.transport, b"the last that waits")
            assert ends.came == b"123456789abcdef" + b"the last that waits"
            outbox.write(ends.transport, b"more")
            assert ends.came == b""
            await asyncio.sleep(0)
            assert ends.came == b"more"

    runner.run(write())


def test_what_waits_can_be_sent_before_the_end_of_the_turn(runner: asyncio.Runner) -> None:
    """By whoever is about to write past it."""

    async def write() -> None:
        outbox = Outbox(asyncio.get_running_loop())
        async with connected() as ends:
            outbox.flush()
            outbox.write(ends.transport, b"1")
            outbox.write(ends.transport, b"2")
            outbox.flush()
            ends.transport.write(b"3")
            assert ends.came == b"123"
            await asyncio.sleep(0)
            assert ends.came == b""

    runner.run(write())


@pytest.mark.parametrize("how", ["close", "abort"])
def test_what_waits_for_a_closed_connection_is_dropped(runner: asyncio.Runner, how: str) -> None:
    """The others get theirs."""

    async def write() -> None:
        outbox = Outbox(asyncio.get_running_loop())
        async with connected() as gone, connected() as there:
            outbox.write(there.transport, b"1")
            outbox.write(gone.transport, b"2")
            outbox.write(there.transport, b"3")
            getattr(gone.transport, how)()
            await asyncio.sleep(0.01)
            assert (gone.came, there.came) == (b"", b"13")

    runner.run(write())


def test_a_connection_that_takes_no_more_costs_only_its_own(runner: asyncio.Runner) -> None:
    """It is ended, so that nobody waits for what was to come; the others get theirs."""

    async def write() -> None:
        outbox = Outbox(asyncio.get_running_loop())
        async with connected() as ended, connected() as there:
            outbox.write(there.transport, b"1")
            outbox.write(ended.transport, b"2")
            outbox.write(there.transport, b"3")
            ended.transport.write_eof()
            await asyncio.sleep(0.01)
            assert (ended.came, there.came, ended.transport.is_closing()) == (b"", b"13", True)

    runner.run(write())
