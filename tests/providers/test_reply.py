"""What a reader gets from a reply: pieces, ends, timeouts, cancellation and backpressure, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, Generic, Protocol, TypeVar

import pytest

from app.errors import Failure, UpstreamFailure
from app.exchange import Endpoint, Timeouts
from app.providers.http1 import HIGH_WATER
from app.providers.reply import HttpReply
from app.providers.transport import HttpTransport
from tests.providers.scripted import CHUNKED, HELLO, PATIENT, Peer, answering, outbound, own_time, serving, soon, until
from tests.providers.wire import Bench

FEW = Timeouts(connect=5, first_token=0.1, between_tokens=0.1, total=5)
HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


class Pieces(Protocol):
    """What can be read piece by piece."""

    async def read(self) -> bytes:
        """The next piece."""


async def read_until_failure(reply: Pieces) -> tuple[bytes, UpstreamFailure]:
    """What could be read, and how it ended."""
    got = b""
    try:
        while piece := await reply.read():
            got += piece
    except UpstreamFailure as failure:
        return got, failure
    raise AssertionError(got)


T = TypeVar("T")


class Counted(Generic[T]):
    """Awaits a coroutine and counts how often it waits."""

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._work = work
        self.suspensions = 0

    def __await__(self) -> Generator[Any, Any, T]:
        """The coroutine's result."""
        try:
            while True:
                waited = self._work.send(None)
                self.suspensions += 1
                yield waited
        except StopIteration as done:
            value: T = done.value
            return value


# --- reading


async def test_everything_that_came_is_one_piece(clean: None) -> None:
    """Chunks that wait unread come out together; a piece on its own comes out as it is."""
    bench = Bench()
    reply = bench.start(stream=True)
    bench.connection.data_received(CHUNKED + b"2\r\nab\r\n")
    bench.connection.data_received(b"2\r\ncd\r\n1\r\ne\r\n")
    assert await reply.read() == b"abcde"
    bench.connection.data_received(b"1\r\nf\r\n0\r\n\r\n")
    assert [await reply.read(), await reply.read(), await reply.read()] == [b"f", b"", b""]
    reply.close()
    assert bench.idle == [bench.connection]


class Taken:
    """A tap that takes what does not begin with `.`."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def __call__(self, piece: bytes) -> bool:
        """Take it or leave it."""
        if piece.startswith(b"."):
            return False
        self.pieces.append(piece)
        return True


async def test_a_tap_takes_pieces_as_they_come(clean: None) -> None:
    """In the turn in which they come, its reader sleeping on; what it leaves wakes him, and the end does."""
    bench, tap = Bench(), Taken()
    reply = bench.start(stream=True)
    bench.connection.data_received(CHUNKED + b"2\r\nab\r\n")
    reading = asyncio.create_task(reply.read(tap))
    await asyncio.sleep(0)
    assert tap.pieces == [b"ab"]
    for piece in (b"2\r\ncd\r\n", b"1\r\ne\r\n1\r\nf\r\n", b"1\r\n", b"g\r\n"):
        bench.connection.data_received(piece)
    assert (tap.pieces, reading.done()) == ([b"ab", b"cd", b"ef", b"g"], False)
    bench.connection.data_received(b"2\r\n.h\r\n")
    assert await reading == b".h"
    bench.connection.data_received(b"1\r\ni\r\n0\r\n\r\n")
    assert (await reply.read(tap), tap.pieces[4:], reply.unread) == (b"", [b"i"], 0)
    reply.close()
    assert bench.idle == [bench.connection]


async def test_nothing_is_tapped_while_nobody_reads(clean: None) -> None:
    """Between two reads pieces are kept; a reader who is cancelled takes his tap with him."""
    bench, tap = Bench(), Taken()
    reply = bench.start(stream=True)
    reading = asyncio.create_task(reply.read(tap))
    await asyncio.sleep(0)
    bench.connection.data_received(CHUNKED + b"2\r\n.a\r\n")
    bench.connection.data_received(b"1\r\nb\r\n")
    assert (await reading, tap.pieces) == (b".ab", [])
    bench.connection.data_received(b"1\r\nc\r\n")
    assert (reply.unread, tap.pieces) == (1, [])
    assert await reply.read() == b"c"
    reading = asyncio.create_task(reply.read(tap))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    bench.connection.data_received(b"1\r\nd\r\n")
    assert (tap.pieces, bench.wire.aborted) == ([], True)


async def test_an_answer_in_one_segment_costs_one_suspension(transport: HttpTransport) -> None:
    """Sending waits once; the body is there already."""
    async with serving(answering(HELLO)) as server:
        for expected in (None, 1):  # the first one also waits for the connection
            work = Counted(transport.send(server.endpoint(), outbound(), PATIENT, soon()))
            reply = await work
            assert expected in {None, work.suspensions}
            body = Counted(reply.read_all(10))
            assert (await body, body.suspensions) == (b"hello", 0)
            reply.close()


async def test_headers(transport: HttpTransport) -> None:
    """Lower-case names, trimmed values, repeated ones joined; interim heads and trailers left out."""
    response = (
        b"HTTP/1.1 103 Hints\r\nlink: no\r\n\r\nHTTP/1.1 200 OK\r\nX-A:  1 \r\nx-a: 2\r\nName: \xe9\r\n"
        b"transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\ntrailer: no\r\n\r\n"
    )
    async with serving(answering(response)) as server:
        reply = await transport.send(server.endpoint(), outbound(), PATIENT, soon())
        assert dict(reply.headers) == {"x-a": "1, 2", "name": "é", "transfer-encoding": "chunked"}
        reply.close()


async def test_read_all_is_bounded(transport: HttpTransport) -> None:
    """A body longer than the limit is a failure, and the upstream is left at once."""
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.answer(HEAD + b"x" * 1000, b"x" * 1000)
        await peer.gone()
        gone.set()

    async with serving(script) as server:
        reply = await transport.send(server.endpoint(), outbound(), PATIENT, soon())
        with pytest.raises(UpstreamFailure) as caught:
            await reply.read_all(1500)
        assert caught.value.failure is Failure.PROTOCOL
        await until(gone.is_set)


async def test_what_came_is_read_before_the_failure(transport: HttpTransport) -> None:
    """Tokens that arrived are not lost because the upstream died behind them."""

    async def script(peer: Peer) -> None:
        await peer.answer(CHUNKED + b"5\r\nhello\r\n")
        await asyncio.sleep(0.01)
        peer.reset()

    async with serving(script) as server:
        reply = await transport.send(server.endpoint(), outbound(stream=True), PATIENT, soon())
        assert isinstance(reply, HttpReply)
        await until(lambda: reply.failure)
        got, failure = await read_until_failure(reply)
        assert (got, failure.failure, failure.sent) == (b"hello", Failure.TRUNCATED, True)
        assert "ConnectionReset" in failure.detail
        reply.close()


async def test_close_is_idempotent_and_final(transport: HttpTransport) -> None:
    """After close, an unfinished body is a failure, and a second close does nothing to the connection's next user."""
    async with serving(answering(HELLO)) as server:
        first = await transport.send(server.endpoint(), outbound(), PATIENT, soon())
        await first.read_all(10)
        first.close()
        second = await transport.send(server.endpoint(), outbound(), PATIENT, soon())
        first.close()
        assert await second.read_all(10) == b"hello"
        second.close()
        assert (await first.read(), transport.counts.opened) == (b"", 1)


async def test_closing_early_tells_the_upstream(transport: HttpTransport) -> None:
    """An unfinished reply that is closed aborts its connection, also under a pending read."""
    left = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.answer(CHUNKED + b"1\r\na\r\n")
        await peer.gone()
        left.set()

    async with serving(script) as server:
        reply = await transport.send(server.endpoint(), outbound(stream=True), PATIENT, soon())
        assert await reply.read() == b"a"
        reader = asyncio.create_task(reply.read())
        await asyncio.sleep(0.01)
        reply.close()
        await until(left.is_set, within=0.1)
        with pytest.raises(UpstreamFailure) as caught:
            await reader
        assert caught.value.failure is Failure.TRUNCATED


# --- timeouts


@pytest.mark.parametrize(
    ("sent", "kind", "failure"),
    [
        (b"", "stream", Failure.FIRST_BYTE_TIMEOUT),
        (b"HTTP/1.1 200 OK\r\n", "stream", Failure.FIRST_BYTE_TIMEOUT),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "stream", Failure.FIRST_BYTE_TIMEOUT),
        (CHUNKED, "stream", Failure.FIRST_BYTE_TIMEOUT),
        (CHUNKED + b"1;ext", "stream", Failure.FIRST_BYTE_TIMEOUT),
        (CHUNKED + b"1\r\na\r\n", "stream", Failure.BETWEEN_BYTES_TIMEOUT),
        (CHUNKED + b"1\r\na\r\n0\r\n", "stream", Failure.BETWEEN_BYTES_TIMEOUT),
        (b"", "whole", Failure.TOTAL_TIMEOUT),
        (CHUNKED + b"1\r\na\r\n", "whole", Failure.TOTAL_TIMEOUT),
    ],
    ids=range(9),
)
async def test_silence(transport: HttpTransport, sent: bytes, kind: str, failure: Failure) -> None:
    """An upstream that falls silent is given up on, in whatever phase, and notices."""
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.answer(sent)
        await peer.gone()
        gone.set()

    async with serving(script) as server:
        began = own_time()
        with pytest.raises(UpstreamFailure) as caught:
            await whole(transport, server.endpoint(), stream=kind == "stream")
        assert (caught.value.failure, caught.value.sent) == (failure, True)
        assert own_time() - began < 0.5
        await until(gone.is_set)


async def whole(transport: HttpTransport, endpoint: Endpoint, *, stream: bool) -> bytes:
    """A body under short timeouts."""
    deadline = soon(5) if stream else soon(0.3)
    reply = await transport.send(endpoint, outbound(stream=stream), FEW, deadline)
    return await reply.read_all(1000)


async def test_a_stream_that_keeps_coming_never_times_out(transport: HttpTransport) -> None:
    """Each byte moves the timeout on."""

    async def script(peer: Peer) -> None:
        await peer.answer(CHUNKED)
        for _ in range(6):
            await asyncio.sleep(0.15)
            await peer.send(b"1\r\na\r\n")
        await peer.send(b"0\r\n\r\n")

    async with serving(script) as server:
        timeouts = Timeouts(first_token=0.6, between_tokens=0.6)
        reply = await transport.send(server.endpoint(), outbound(stream=True), timeouts, soon())
        assert await reply.read_all(10) == b"a" * 6
        reply.close()


@pytest.mark.parametrize("earlier", [0, 1], ids=["fresh", "reused"])
async def test_silence_after_the_first_byte_has_the_shorter_patience(transport: HttpTransport, earlier: int) -> None:
    """`between_tokens` strikes in its own time, however long the first token might have taken."""

    async def script(peer: Peer) -> None:
        for _ in range(earlier):
            await peer.answer(HELLO)
        await peer.answer(CHUNKED, b"1\r\na\r\n")
        await peer.gone()

    async with serving(script) as server:
        timeouts = Timeouts(first_token=5, between_tokens=0.2)
        for _ in range(earlier):
            reply = await transport.send(server.endpoint(), outbound(stream=True), timeouts, soon())
            assert await reply.read_all(10) == b"hello"
            reply.close()
        reply = await transport.send(server.endpoint(), outbound(stream=True), timeouts, soon())
        began = asyncio.get_running_loop().time()
        got, failure = await read_until_failure(reply)
        assert (got, failure.failure) == (b"a", Failure.BETWEEN_BYTES_TIMEOUT)
        assert asyncio.get_running_loop().time() - began < 3


async def test_the_deadline_ends_a_stream_that_keeps_coming(transport: HttpTransport) -> None:
    """`total` holds for everything."""

    async def script(peer: Peer) -> None:
        await peer.answer(CHUNKED)
        while True:
            await asyncio.sleep(0.02)
            await peer.send(b"1\r\na\r\n")

    async with serving(script) as server:
        reply = await transport.send(server.endpoint(), outbound(stream=True), PATIENT, soon(0.2))
        got, failure = await read_until_failure(reply)
        assert failure.failure is Failure.TOTAL_TIMEOUT
        assert 1 <= len(got) <= 11


async def test_a_slow_reader_is_not_the_upstreams_fault(transport: HttpTransport) -> None:
    """While reading is paused for the reader's sake, silence does not count."""

    async def script(peer: Peer) -> None:
        await peer.answer(HEAD)
        for _ in range(100):
            await peer.send(b"x" * 100_000)

    async with serving(script) as server:
        timeouts = Timeouts(first_token=5, between_tokens=0.2)
        reply = await transport.send(server.endpoint(), outbound(stream=True), timeouts, soon())
        await asyncio.sleep(0.6)
        assert len(await reply.read_all(20_000_000)) == 10_000_000
        reply.close()


async def test_one_timer_serves_many_requests(clean: None) -> None:
    """A timer that would fire early enough is left alone: after the first stream's first byte no timer work at all."""
    bench = Bench()
    timers = []
    for _ in range(3):
        reply = bench.start(stream=True)
        timers.append(bench.connection._timer)
        bench.connection.data_received(CHUNKED)
        for _ in range(10):
            bench.connection.data_received(b"1\r\na\r\n")
            timers.append(bench.connection._timer)
        bench.connection.data_received(b"0\r\n\r\n")
        reply.close()
    before_the_first_byte, *rest = timers
    assert before_the_first_byte is not None
    assert before_the_first_byte.cancelled()
    assert rest[0] is not None
    assert rest == [rest[0]] * 32
    bench.connection.connection_lost(None)
    assert rest[0].cancelled()


# --- backpressure and cancellation


async def test_a_slow_reader_holds_the_upstream_back(transport: HttpTransport) -> None:
    """What is unread is bounded: the upstream's writes block, and go on when it is read."""
    total = 64 * 1024 * 1024
    taken = 0

    async def script(peer: Peer) -> None:
        nonlocal taken
        await peer.answer(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
        while taken < total:
            await peer.send(b"x" * 65536)
            taken += 65536

    async with serving(script) as server:
        reply = await transport.send(server.endpoint(), outbound(stream=True), PATIENT, soon(30))
        await asyncio.sleep(0.3)
        stuck = taken
        assert isinstance(reply, HttpReply)
        assert reply.unread <= HIGH_WATER + 256 * 1024
        await asyncio.sleep(0.05)
        assert (taken, taken < total) == (stuck, True)  # the rest is in the kernel's buffers
        got = 0
        while piece := await reply.read():
            got += len(piece)
            assert len(piece) <= HIGH_WATER + 256 * 1024
        assert got == total
        reply.close()
        assert transport.connections() == {server.endpoint(): (1, 1)}


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\n", CHUNKED, CHUNKED + b"1\r\na\r\n1"], ids=range(4))
async def test_cancelling_tells_the_upstream_at_once(transport: HttpTransport, sent: bytes) -> None:
    """Cancelled while sending or reading: the upstream sees the close within 100 ms."""
    waiting, gone = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.answer(sent)
        waiting.set()
        await peer.gone()
        gone.set()

    async with serving(script) as server:
        caller = asyncio.create_task(whole_of(transport, server.endpoint()))
        await waiting.wait()
        await asyncio.sleep(0.01)
        caller.cancel()
        await until(gone.is_set, within=0.1)
        with pytest.raises(asyncio.CancelledError):
            await caller
    assert transport.connections() == {}


async def whole_of(transport: HttpTransport, endpoint: Endpoint) -> bytes:
    """A body under long timeouts."""
    reply = await transport.send(endpoint, outbound(stream=True), PATIENT, soon())
    return await reply.read_all(1000)
