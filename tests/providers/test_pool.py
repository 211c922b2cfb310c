"""Which connections are kept, for how long, and in which order they are used again."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from app.providers.pool import JUST_NOW, SLACK, Counts
from app.providers.transport import IDLE_LIMIT, HttpTransport
from tests.providers.scripted import HELLO, PATIENT, Peer, Scripted, answering, outbound, own_time, serving, soon, until

LIMIT = SLACK + 0.15


@pytest_asyncio.fixture
async def brief(clean: None) -> AsyncIterator[HttpTransport]:
    """A transport that keeps idle connections only for a moment."""
    client = HttpTransport(idle_limit=LIMIT)
    yield client
    await client.aclose()
    assert client.connections() == {}


async def hold(transport: HttpTransport, server: Scripted, count: int) -> None:
    """Have so many connections at once, then let them go one after the other."""
    replies = [await transport.send(server.endpoint(), outbound(), PATIENT, soon()) for _ in range(count)]
    for reply in replies:
        await reply.read_all(10)
        reply.close()


async def test_the_default_is_shorter_than_uvicorns(clean: None) -> None:
    """uvicorn, hence vLLM, closes after five seconds."""
    assert IDLE_LIMIT <= 4


async def test_idle_connections_are_closed_in_time(brief: HttpTransport) -> None:
    """All of them, not before their time and not after it, by one timer."""
    closed: list[tuple[float, float]] = []

    async def script(peer: Peer) -> None:
        await peer.answer(HELLO)
        await peer.gone()
        closed.append((time.monotonic(), own_time()))

    async with serving(script) as server:
        began = time.monotonic()
        await hold(brief, server, 3)
        ended = own_time()
        assert brief.connections() == {server.endpoint(): (3, 3)}
        await until(lambda: not brief.connections())
        await until(lambda: len(closed) == 3)
        assert all(at >= began + LIMIT - SLACK - 0.02 for at, _ in closed)
        assert all(at <= ended + LIMIT + 0.05 for _, at in closed)


async def test_use_keeps_a_connection_alive(brief: HttpTransport) -> None:
    """What is used again and again is never dropped."""
    async with serving(answering(HELLO)) as server:
        for _ in range(8):
            await hold(brief, server, 1)
            await asyncio.sleep(0.06)
        assert (server.accepted, brief.counts.opened) == (1, 1)


async def test_last_in_first_out(transport: HttpTransport) -> None:
    """The warmest connection is used again, so that a quiet pool shrinks."""
    used = []

    async def script(peer: Peer) -> None:
        while True:
            await peer.answer(HELLO)
            used.append(peer.number)

    async with serving(script) as server:
        await hold(transport, server, 3)
        used.clear()
        for _ in range(3):
            await hold(transport, server, 1)
        assert used == [2, 2, 2]
        assert transport.connections() == {server.endpoint(): (3, 3)}


async def test_what_is_too_old_is_not_handed_out(clean: None) -> None:
    """Age is looked at again when a connection is taken: a blocked loop may be late with its timers."""
    client = HttpTransport(idle_limit=LIMIT)
    async with serving(answering(HELLO)) as server:
        await hold(client, server, 2)
        pool = client._pools.by_endpoint[server.endpoint()]
        for connection in pool.idle:
            connection.idle_since -= 2 * LIMIT
        await hold(client, server, 1)
        assert (server.accepted, client.counts.reused) == (3, 0)
        await client.aclose()


@pytest.mark.parametrize("ending", ["fin", "reset", "408", "noise"])
async def test_what_the_upstream_has_left_is_not_handed_out(transport: HttpTransport, ending: str) -> None:
    """Closed, reset or spoken on while idle: the next request gets a fresh connection, without a second try."""

    async def script(peer: Peer) -> None:
        await peer.answer(HELLO)
        if peer.number:
            await peer.gone()
        await asyncio.sleep(0.01)
        match ending:
            case "reset":
                peer.reset()
            case "408":
                await peer.send(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
            case "noise":
                await peer.send(b"x")
                await peer.gone()

    async with serving(script) as server:
        await hold(transport, server, 1)
        await until(lambda: not transport.connections())
        await hold(transport, server, 1)
        assert (server.accepted, transport.counts.reused, transport.counts.resent) == (2, 0, 0)


@pytest.mark.parametrize("ending", ["fin", "408"])
async def test_what_the_loop_has_not_seen_yet(transport: HttpTransport, ending: str) -> None:
    """The upstream hung up, or said 408, and the loop had no time to notice: that 408 answers no later request."""
    peers = []

    async def script(peer: Peer) -> None:
        peers.append(peer)
        await peer.answer(HELLO)
        await peer.gone()

    async with serving(script) as server:
        await hold(transport, server, 1)
        await asyncio.sleep(2 * JUST_NOW)
        with socket.socket(fileno=os.dup(peers[0].writer.get_extra_info("socket").fileno())) as raw:
            if ending == "408":
                raw.send(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
            raw.shutdown(socket.SHUT_WR)
        reply = await transport.send(server.endpoint(), outbound(), PATIENT, soon())
        assert (reply.status, transport.counts) == (200, Counts(opened=2, reused=0, resent=0))
        reply.close()


async def test_a_pool_without_connections_is_forgotten(brief: HttpTransport) -> None:
    """Replicas that come and go leave nothing behind."""
    for _ in range(3):
        async with serving(answering(HELLO)) as server:
            await hold(brief, server, 1)
    await until(lambda: not brief._pools.by_endpoint)


async def test_no_timer_without_idle_connections(brief: HttpTransport) -> None:
    """When the last idle connection is gone, nothing wakes up any more."""
    async with serving(answering(HELLO)) as server:
        await hold(brief, server, 1)
        assert brief._pools.sweeping
        await until(lambda: not brief._pools.sweeping)
        await until(lambda: not brief.connections())
        assert not brief._pools.sweeping
