"""One connection of the generator: it times, leaves as told, and says what was wrong."""

from __future__ import annotations

import asyncio
from itertools import repeat

import pytest

from loadtests.client import Kept, Load
from loadtests.line import Answer, Leave, Shot
from loadtests.wire import request_bytes
from tests.loadtests.scripted import OK, scripted

REQUEST = request_bytes("POST", "/", {"host": "test"}, b"{}")
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b"d\r\ndata: {'a'}\n\n\r\n"


async def one(*pieces: bytes, shot: Shot, pause: float = 0.0, hang_up: bool = False) -> tuple[Answer, int]:
    """The answer to one request, and how many connections its caller ended."""
    kept = Kept()
    async with scripted(*pieces, pause=pause, hang_up=hang_up) as server:
        await Load(server.target, repeat(shot, 1), kept, seconds=5).run(1)
        await asyncio.sleep(0.05)
        return kept.answers[0], server.ended


async def test_times_count_from_the_request() -> None:
    """The whole answer, and each piece that brought an event."""
    answer, _ = await one(HEAD, EVENT, EVENT, b"0\r\n\r\n", shot=Shot(REQUEST), pause=0.03)
    first, second = answer.arrivals
    assert 0.025 < first < second - 0.025 < second < answer.seconds
    assert (answer.status, answer.events, answer.fault) == (200, 2, None)


@pytest.mark.parametrize("reset", [True, False])
async def test_it_leaves_in_mid_stream(reset: bool) -> None:  # noqa: FBT001 - pytest names it
    """After so many events, with a reset or without; the server notices."""
    leave = Leave(events=2, reset=reset)
    answer, ended = await one(HEAD, *[EVENT] * 20, shot=Shot(REQUEST, leave=leave), pause=0.01)
    assert (answer.left, answer.events, answer.fault, ended) == (True, 2, None, 1)


async def test_it_leaves_while_it_waits() -> None:
    """After so many seconds without an answer."""
    answer, _ = await one(b"", shot=Shot(REQUEST, leave=Leave(seconds=0.05)), pause=0.3)
    assert (answer.left, answer.status, answer.fault) == (True, 0, None)
    assert answer.seconds > 0.04


async def test_an_answer_in_time_is_no_leaving() -> None:
    """Who is answered before going stays."""
    answer, _ = await one(OK, shot=Shot(REQUEST, leave=Leave(seconds=0.5)))
    assert (answer.left, answer.body) == (False, b"ok")


@pytest.mark.parametrize(
    ("piece", "fault"),
    [(b"", "closed before"), (OK[:-1], "closed within"), (OK + b"more", "more bytes"), (b"hello\r\n\r\n", "not HTTP")],
)
async def test_a_bad_answer_carries_its_fault(piece: bytes, fault: str) -> None:
    """Nothing is guessed, nothing is dropped."""
    answer, _ = await one(piece, shot=Shot(REQUEST), hang_up=True)
    assert answer.fault
    assert fault in answer.fault
