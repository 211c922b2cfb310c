"""The Redis protocol: every reply in every split, bounded waits, real connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.stores.resp import Connection, Reply, ReplyError, Unanswered, encode
from tests.support.redis import Redis
from tests.support.waiting import until


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    """A real server."""
    with Redis() as server:
        yield server


@asynccontextmanager
async def connected(redis: Redis, wait: float = 1.0, give_up: float = 5.0) -> AsyncIterator[Connection]:
    """A connection to it."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(lambda: Connection(wait, give_up), "127.0.0.1", redis.port)
    yield connection
    connection.close()
    await connection.closed


class Wire(asyncio.Transport):
    """Takes what is written and gives nothing back."""

    def __init__(self) -> None:
        super().__init__()
        self.closing = False

    def write(self, data: object) -> None:
        """As Transport's."""

    def is_closing(self) -> bool:
        """As Transport's."""
        return self.closing

    def abort(self) -> None:
        """As Transport's."""
        self.closing = True


def written(reply: object) -> bytes:
    """A reply as a server writes it."""
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    assert isinstance(reply, list)
    return b"*%d\r\n" % len(reply) + b"".join(written(one) for one in reply)


replies = st.recursive(st.none() | st.integers(-(2**53), 2**53) | st.binary(max_size=20), st.lists, max_leaves=8)


@settings(max_examples=60)
@given(st.lists(replies, min_size=1, max_size=5), st.lists(st.integers(0, 200), max_size=6))
def test_replies_are_read_in_every_split(expected: list[Reply], cuts: list[int]) -> None:
    """However the network cuts them."""

    async def read() -> list[Reply]:
        connection = Connection(1.0)
        connection.connection_made(Wire())
        futures = [connection.ask(1, b"") for _ in expected]
        data = b"".join(written(one) for one in expected)
        edges = sorted({0, len(data), *[cut % len(data) for cut in cuts]})
        for begin, end in pairwise(edges):
            connection.data_received(data[begin:end])
        found = [await asyncio.wait_for(future, 1) for future in futures]
        connection.connection_lost(None)
        return found

    assert asyncio.run(read()) == expected


async def test_commands_are_answered_in_order(redis: Redis) -> None:
    """Many in flight on one connection."""
    async with connected(redis) as connection:
        asked = [connection.ask(2, encode((b"ECHO", b"%d" % index))) for index in range(500)]
        assert await asyncio.gather(*asked) == [b"%d" % index for index in range(500)]


async def test_an_error_reply_is_raised(redis: Redis) -> None:
    """And the next command is answered as ever."""
    async with connected(redis) as connection:
        with pytest.raises(ReplyError, match="unknown command"):
            await connection.command(b"NONSENSE")
        assert await connection.command(b"PING") == b"PONG"


async def test_a_silent_server_is_waited_for_no_longer_than_the_bound(redis: Redis) -> None:
    """Each wait ends in time; the late reply goes to nobody, the next one to whom it belongs."""
    async with connected(redis, wait=0.05) as connection:
        redis.pause()
        try:
            began = asyncio.get_running_loop().time()
            late = connection.ask(2, encode((b"ECHO", b"late")))
            with pytest.raises(Unanswered) as unanswered:
                await late
            assert 0.04 < asyncio.get_running_loop().time() - began < 0.5
            assert unanswered.value.asked
            assert connection.stalled
        finally:
            redis.resume()
        await until(lambda: not connection.stalled)
        assert await connection.command(b"ECHO", b"next") == b"next"


async def test_a_connection_that_stays_silent_is_given_up(redis: Redis) -> None:
    """So that a new one can be made."""
    async with connected(redis, wait=0.02, give_up=0.1) as connection:
        redis.pause()
        try:
            with pytest.raises(Unanswered):
                await connection.command(b"PING")
            await asyncio.wait_for(asyncio.shield(connection.closed), 2)
        finally:
            redis.resume()
        with pytest.raises(Unanswered) as unanswered:
            await connection.command(b"PING")
        assert not unanswered.value.asked


async def test_a_lost_connection_fails_whoever_waits() -> None:
    """Their commands may have run."""
    with Redis() as mortal:
        async with connected(mortal) as connection:
            mortal.pause()
            waiting = [connection.ask(1, encode((b"PING",))) for _ in range(3)]
            mortal.kill()
            results = await asyncio.gather(*waiting, return_exceptions=True)
            assert all(isinstance(one, Unanswered) and one.asked for one in results)


@pytest.mark.parametrize("nonsense", [b"HTTP/1.1 200 OK\r\n", b":x\r\n", b"*1\r\n-ERR\r\n", b"*" + b"1\r\n*" * 5000])
async def test_what_is_not_redis_closes_the_connection(nonsense: bytes) -> None:
    """Instead of being believed."""
    connection, wire = Connection(1.0), Wire()
    connection.connection_made(wire)
    future = connection.ask(1, b"")
    connection.data_received(nonsense)
    assert wire.closing
    connection.connection_lost(None)
    with pytest.raises(Unanswered):
        await future


async def test_a_busy_event_loop_is_no_silent_server(redis: Redis) -> None:
    """The reply was there all the time; nobody had looked."""
    async with connected(redis, wait=0.05) as connection:
        for _ in range(5):
            future = connection.ask(1, encode((b"PING",)))
            await asyncio.sleep(0)
            time.sleep(0.1)  # noqa: ASYNC251 # this is the point
            assert await future == b"PONG"
