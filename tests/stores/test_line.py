"""The line to Redis: addresses, handshake, epochs across restarts, a server that comes and goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.stores.line import Address, Line
from app.stores.redis import SCRIPT
from app.stores.resp import Unanswered, encode
from app.tasks import TaskGroup
from tests.support import waiting
from tests.support.redis import Redis


@asynccontextmanager
async def line_to(url: str) -> AsyncIterator[Line]:
    """A line that is kept up in the background."""
    line, group = Line(Address.parse(url), SCRIPT, 0.5, lambda: None), TaskGroup("test")
    group.spawn("line", line.keep())
    yield line
    await group.aclose()


async def until(line: Line, *, connected: bool | None = None, epoch: str | None = None) -> None:
    """Wait until the line has come to a state."""
    await waiting.until(lambda: connected is None or line.connected == connected)
    await waiting.until(lambda: epoch is None or line.epoch == epoch)


async def open_epoch(line: Line) -> str:
    """Open a new, empty epoch."""
    [_, number] = await line.run(3, encode((b"lose", b"", b"7")))
    epoch = f"{line.server}.{number}"
    assert await line.run(4, encode((b"open", epoch.encode(), b"0", b"0"))) == [1]
    await until(line, epoch=epoch)
    return epoch


def test_addresses() -> None:
    """TCP, TLS, unix sockets, credentials, databases."""
    assert Address.parse("redis://h") == Address("h", 6379, "", False, "", "", 0)  # noqa: FBT003
    assert Address.parse("rediss://u:p%40@h:7/3") == Address("h", 7, "", True, "u", "p@", 3)  # noqa: FBT003
    assert Address.parse("unix:///run/r.sock").path == "/run/r.sock"
    with pytest.raises(ValueError, match="not a Redis URL"):
        Address.parse("http://h")


async def test_an_empty_server_is_closed_until_an_epoch_is_opened() -> None:
    """Connected, but not up: what was spent before is not known."""
    with Redis() as redis:
        async with line_to(redis.url) as line:
            await until(line, connected=True)
            assert not line.up
            assert await line.run(3, encode((b"reap", b"", b"1"))) == [-1]
            await open_epoch(line)
            assert line.up


async def test_credentials_and_databases() -> None:
    """AUTH and SELECT come before anything else; a wrong password leaves the line down."""
    with Redis(settings={"requirepass": "secret"}) as redis:
        async with line_to(f"redis://:secret@127.0.0.1:{redis.port}/2") as line:
            await until(line, connected=True)
            await open_epoch(line)
        async with line_to(f"redis://:wrong@127.0.0.1:{redis.port}") as line:
            await asyncio.sleep(0.3)
            assert not line.connected
            with pytest.raises(Unanswered) as unanswered:
                await line.run(3, encode((b"reap", b"", b"1")))
            assert not unanswered.value.asked


@pytest.mark.parametrize("persist", [True, False])
async def test_a_restart_closes_the_epoch(persist: bool) -> None:  # noqa: FBT001
    """With its data or without: what the server lost at its end, nobody can know."""
    with Redis(persist=persist) as redis:
        async with line_to(redis.url) as line:
            await until(line, connected=True)
            epoch = await open_epoch(line)
            redis.kill()
            await until(line, connected=False)
            assert not line.up
            redis.start()
            await until(line, connected=True, epoch="")
            assert redis.command("GET", "{sluicegate}:epoch") == b"$-1\r\n"
            assert await open_epoch(line) != epoch


async def test_a_flushed_server_is_noticed() -> None:
    """By the next command, and by looking."""
    with Redis() as redis:
        async with line_to(redis.url) as line:
            await until(line, connected=True)
            epoch = await open_epoch(line)
            redis.command("FLUSHALL")
            assert await line.run(3, encode((b"reap", epoch.encode(), b"1"))) == [-1]
            assert not line.up
            await open_epoch(line)
            redis.command("FLUSHALL")
            await until(line, epoch="")


async def test_two_workers_follow_one_epoch() -> None:
    """The second one learns of it by itself; a second opening is refused."""
    with Redis() as redis:
        async with line_to(redis.url) as one, line_to(f"unix://{redis.socket}") as other:
            await until(one, connected=True)
            await until(other, connected=True)
            epoch = await open_epoch(one)
            await until(other, epoch=epoch)
            assert await other.run(3, encode((b"lose", b"", b"8"))) == [0]
            assert await other.run(4, encode((b"open", epoch.encode(), b"0", b"0"))) == [0]


async def test_a_lost_script_is_loaded_again() -> None:
    """SCRIPT FLUSH makes one command fail, and the line begins with a new handshake."""
    with Redis() as redis:
        async with line_to(redis.url) as line:
            await until(line, connected=True)
            epoch = await open_epoch(line)
            redis.command("SCRIPT", "FLUSH")
            with pytest.raises(Unanswered):
                await line.run(3, encode((b"reap", epoch.encode(), b"1")))
            await until(line, connected=True)
            assert await line.run(3, encode((b"reap", epoch.encode(), b"1"))) == [1, 0]


async def test_a_server_that_is_not_there_is_looked_for() -> None:
    """The line comes up when it comes."""
    redis = Redis()
    try:
        async with line_to(redis.url) as line:
            await asyncio.sleep(0.2)
            assert not line.connected
            redis.start()
            await until(line, connected=True)
    finally:
        redis.__exit__(None, None, None)


async def test_a_server_that_evicts_is_refused() -> None:
    """A counter that is evicted is a budget that is forgotten."""
    with Redis(settings={"maxmemory": "50mb", "maxmemory-policy": "allkeys-lru"}) as redis:
        async with line_to(redis.url) as line:
            await asyncio.sleep(0.3)
            assert not line.connected
            redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
            await until(line, connected=True)
