"""The loads: how many requests, over how many connections, at which rate, and when they end."""

from __future__ import annotations

from itertools import repeat
from time import perf_counter

import pytest

from loadtests.client import Kept, Load, Paced, Target
from loadtests.line import Leave, Shot
from loadtests.server import free_port
from loadtests.wire import request_bytes
from tests.loadtests.scripted import OK, scripted

SHOT = Shot(request_bytes("POST", "/", {"host": "test"}, b"{}"), "plain")
CLOSING = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"


async def test_a_closed_loop_sends_exactly_what_it_is_given() -> None:
    """Over exactly so many connections, kept alive."""
    kept = Kept()
    async with scripted(OK) as server:
        ran = await Load(server.target, repeat(SHOT, 500), kept, seconds=10).run(8)
        assert (server.requests, server.connections) == (500, 8)
    assert (ran.sent, len(kept.answers)) == (500, 500)
    assert all(answer.body == b"ok" and answer.fault is None for answer in kept.answers)


async def test_a_connection_that_closes_is_replaced() -> None:
    """Each request on its own connection, none lost."""
    kept = Kept()
    async with scripted(CLOSING, hang_up=True) as server:
        await Load(server.target, repeat(SHOT, 50), kept, seconds=10).run(4)
        assert (server.requests, server.connections) == (50, 50)
    assert not kept.faults(lambda answer: answer.fault)


async def test_who_leaves_comes_back_with_the_next_request() -> None:
    """A load of leavers is as long as any other."""
    kept = Kept()
    leaver = Shot(SHOT.wire, leave=Leave(seconds=0.005, reset=True))
    async with scripted(b"", pause=1.0) as server:
        ran = await Load(server.target, repeat(leaver, 30), kept, seconds=10).run(4)
    assert ran.sent == 30
    assert all(answer.left for answer in kept.answers)


async def test_time_ends_a_load() -> None:
    """Nothing new is sent, and what is under way is waited for."""
    kept = Kept()
    async with scripted(OK, pause=0.05) as server:
        ran = await Load(server.target, repeat(SHOT), kept, seconds=0.3).run(2)
    assert 0.3 <= ran.seconds < 2
    assert 2 <= ran.sent == len(kept.answers) <= 14


async def test_an_answer_that_never_comes_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """The load ends all the same."""
    monkeypatch.setattr("loadtests.client.GRACE", 0.2)
    kept = Kept()
    async with scripted(b"", pause=2) as server:
        await Load(server.target, repeat(SHOT, 1), kept, seconds=0.1).run(1)
    assert [answer.fault for answer in kept.answers] == ["no whole answer in time"]


async def test_nobody_at_home_is_a_fault() -> None:
    """A load against a closed port ends at once and says why."""
    kept = Kept()
    began = perf_counter()
    ran = await Load(Target("127.0.0.1", free_port()), repeat(SHOT), kept, seconds=10).run(3)
    assert perf_counter() - began < 5
    assert ran.sent == 0
    assert all("cannot connect" in (answer.fault or "") for answer in kept.answers)


async def test_the_rate_is_held() -> None:
    """Within what a busy machine allows."""
    kept = Kept()
    async with scripted(OK) as server:
        ran = await Paced(server.target, repeat(SHOT), kept, seconds=1.0, rate=300).run(8)
        assert server.connections == 8
    assert 200 <= ran.sent == len(kept.answers) <= 301


async def test_a_stall_is_counted_from_when_requests_were_due() -> None:
    """With one connection and answers that take 50 ms, the tenth request waits behind nine others."""
    kept = Kept()
    async with scripted(b"", OK, pause=0.05) as server:
        await Paced(server.target, repeat(SHOT), kept, seconds=0.2, rate=50).run(1)
    assert kept.answers[-1].seconds > kept.answers[0].seconds + 0.2


async def test_a_paced_load_replaces_what_closes() -> None:
    """As the closed loop does."""
    kept = Kept()
    async with scripted(CLOSING, hang_up=True) as server:
        await Paced(server.target, repeat(SHOT), kept, seconds=0.3, rate=100).run(2)
        assert server.connections >= server.requests == len(kept.answers) >= 20
    assert not kept.faults(lambda answer: answer.fault)


async def test_a_paced_load_that_is_never_answered_ends() -> None:
    """Every request that was due is told of, those too that found no connection; and no connection is opened anew."""
    kept = Kept()
    async with scripted(b"", pause=2) as server:
        await Paced(server.target, repeat(SHOT), kept, seconds=0.2, rate=50, grace=0.1).run(2)
        assert server.connections == 2
    faults = [answer.fault for answer in kept.answers]
    assert faults.count("no whole answer in time") == 2
    assert faults.count("no connection was free in time") == len(faults) - 2 >= 5
