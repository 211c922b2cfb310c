"""HTTP/1.1 as upstreams speak it, well or badly: over real sockets; without them where thousands of cases are tried."""

from __future__ import annotations

import asyncio
from itertools import combinations, pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import Failure, UpstreamFailure
from app.providers.http1 import HIGH_WATER, MAX_HEAD, MAX_HEADERS, WRITE_SLICE
from app.providers.transport import HttpTransport
from tests.providers.responses import STRICTER, comparable, responses, split, tolerated
from tests.providers.scripted import (
    CHUNKED,
    HELLO,
    PATIENT,
    Peer,
    Scripted,
    answering,
    outbound,
    serving,
    soon,
    until,
)
from tests.providers.wire import Bench, ours, theirs

BIG = 8 * 1024 * 1024


async def ask(transport: HttpTransport, *pieces: bytes, method: str = "POST", close: bool = True) -> tuple[int, bytes]:
    """Status and body of a response that comes in these pieces, after which the upstream closes, or waits."""

    async def script(peer: Peer) -> None:
        await peer.answer(*pieces)
        if not close:
            await peer.gone()

    async with serving(script) as server:
        reply = await transport.send(server.endpoint(), outbound(method=method), PATIENT, soon())
        try:
            return reply.status, await reply.read_all(BIG)
        finally:
            reply.close()


async def refusal(transport: HttpTransport, *pieces: bytes) -> tuple[Failure, str]:
    """How a response that must not be delivered fails."""
    with pytest.raises(UpstreamFailure) as caught:
        await ask(transport, *pieces)
    assert caught.value.sent
    return caught.value.failure, caught.value.detail


async def failing(transport: HttpTransport, server: Scripted) -> Failure | None:
    """How a request fails, from sending it to the end of the body."""
    try:
        reply = await transport.send(server.endpoint(), outbound(), PATIENT, soon())
        await reply.read_all(BIG)
    except UpstreamFailure as error:
        return error.failure
    return None


# --- framing


@pytest.mark.parametrize(
    ("response", "status", "body"),
    [
        (HELLO, 200, b"hello"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, b""),
        (b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", 304, b""),
        (b"HTTP/1.1 503 Busy\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno", 503, b"no"),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", 200, b"ok"),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, b"until the end"),
        (b"HTTP/1.1 200\r\n\r\nuntil the end", 200, b"until the end"),
        (CHUNKED + b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n", 200, b"hello world"),
        (CHUNKED + b"5\r\nhello\r\n0\r\nchecksum: 1\r\nanother: 2\r\n\r\n", 200, b"hello"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + HELLO, 200, b"hello"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: a\r\n\r\n" + HELLO, 200, b"hello"),
        (b"HTTP/1.1 429 Many\r\ncontent-length: 2\r\n\r\nno" + b"surplus", 429, b"no"),
    ],
    ids=range(13),
)
async def test_bodies_end_where_they_say(transport: HttpTransport, response: bytes, status: int, body: bytes) -> None:
    """Every way of framing a body, in one segment and byte by byte."""
    assert await ask(transport, response) == (status, body)
    assert await ask(transport, *(response[i : i + 1] for i in range(len(response)))) == (status, body)


async def test_chunked_in_every_split(clean: None) -> None:
    """A chunked response with extensions and trailers, cut in two at every place, and in three at every two places."""
    whole = CHUNKED + b"5;a=b\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\nt: v\r\n\r\n"
    for cuts in [*combinations(range(1, len(whole)), 1), *combinations(range(1, len(whole), 2), 2)]:
        pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
        verdict = ours(pieces)
        assert (verdict.failure, verdict.body) == (None, b"hello world"), cuts
        assert dict(verdict.headers) == {"transfer-encoding": "chunked"}


@pytest.mark.parametrize(
    ("pieces", "body"),
    [
        ([b"5\r\nhello\r\n", b"6\r\n world\r\n", b"1A\r\n" + b"x" * 26 + b"\r\n"], b"hello world" + b"x" * 26),
        ([b"5\r\nhello\r\n", b"06\r\n world\r\n", b"5;a=b\r\nagain\r\n"], b"hello worldagain"),
        ([b"4\r\nabcd\r\n", b"2\r\n\r\n\r\n", b"7\r\n1\r\n.\r\n\n\r\n"], b"abcd\r\n1\r\n.\r\n\n"),
        ([b"5\r\nhello\r\n", b"5\r\nhel", b"lo\r\n5", b"\r\nworld\r\n", b"1\r\n!\r\n"], b"hellohelloworld!"),
        ([b"5\r\nhello\r\n", b"5\r\nhello\r\n5\r\n", b"5\r\n..\r\n", b"1\r\n!\r\n"], b"hellohello5\r\n..!"),
    ],
)
async def test_chunk_by_chunk(pieces: list[bytes], body: bytes, clean: None) -> None:
    """Segments that are whole chunks, or look like it: past the parser or through it, the body is the same."""
    whole = [CHUNKED, *pieces, b"0\r\n\r\n"]
    assert ours(whole) == theirs(whole)
    assert ours(whole).body == body


@pytest.mark.parametrize(
    "pieces",
    [[b"5\r\nhello\r\n", bad] for bad in (b"5\r\nhello..", b"+5\r\nhello\r\n", b"0x5\r\nhello\r\n", b"5\r\nhello")],
)
async def test_no_chunk_is_taken_for_one(pieces: list[bytes], clean: None) -> None:
    """What is no chunk behind one that was is what the parser says of it."""
    assert ours([CHUNKED, *pieces, b"0\r\n\r\n"]).failure in {Failure.PROTOCOL, Failure.TRUNCATED}


async def test_a_chunk_is_no_response(clean: None) -> None:
    """After a chunked response the connection is kept, and a chunk where the next head should be is garbage."""
    bench = Bench()
    first = bench.start()
    for piece in (CHUNKED, b"5\r\nhello\r\n", b"0\r\n\r\n"):
        bench.connection.data_received(piece)
    first.close()
    assert bench.idle
    second = bench.start()
    bench.connection.data_received(b"5\r\nhello\r\n")
    assert second.failure is not None
    assert (second.failure[0], second.parts) == (Failure.PROTOCOL, [])


async def test_chunked_in_every_split_over_a_socket(transport: HttpTransport) -> None:
    """The same in two segments each, on one kept connection."""
    whole = CHUNKED + b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    cuts = iter(range(1, len(whole)))

    async def script(peer: Peer) -> None:
        for cut in cuts:
            await peer.answer(whole[:cut], whole[cut:])

    async with serving(script) as server:
        for _ in range(1, len(whole)):
            reply = await transport.send(server.endpoint(), outbound(), PATIENT, soon())
            assert await reply.read_all(100) == b"hello world"
            reply.close()
        assert transport.counts.opened == 1


async def test_ten_thousand_chunks(transport: HttpTransport) -> None:
    """A long stream arrives whole."""
    chunks = [b"data: %d\n\n" % i for i in range(10_000)]

    async def script(peer: Peer) -> None:
        await peer.answer(CHUNKED)
        for chunk in chunks:
            peer.writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            await peer.writer.drain()
        await peer.send(b"0\r\n\r\n")
        await peer.gone()

    async with serving(script) as server:
        reply = await transport.send(server.endpoint(), outbound(stream=True), PATIENT, soon(20))
        assert await reply.read_all(BIG) == b"".join(chunks)
        reply.close()
        assert transport.connections() == {server.endpoint(): (1, 1)}


async def test_head_has_no_body(transport: HttpTransport) -> None:
    """The length that a HEAD's answer states is not waited for, and its connection is not used again."""
    async with serving(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")) as server:
        for _ in range(2):
            reply = await transport.send(server.endpoint(), outbound(b"", method="HEAD"), PATIENT, soon())
            assert (reply.status, await reply.read_all(10)) == (200, b"")
            reply.close()
        assert server.accepted == 2


# --- responses that must not be delivered


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello",
        CHUNKED + b"5\r\nhello\r\n",
        CHUNKED + b"5\r\nhel",
        CHUNKED + b"5\r\nhello\r\n0\r\n",
        CHUNKED,
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"H",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
    ids=range(8),
)
async def test_truncated(transport: HttpTransport, response: bytes) -> None:
    """A response that stops short of its end is never taken for a whole one."""
    assert (await refusal(transport, response))[0] is Failure.TRUNCATED


@pytest.mark.parametrize(
    ("response", "detail"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "Expected HTTP/"),
        (b"\x15\x03\x01\x00\x02\x02\x50", "Expected HTTP/"),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", "status 101"),
        (b"HTTP/1.1 099 Low\r\ncontent-length: 0\r\n\r\n", "status 99"),
        (b"HTTP/1.1 199 H\r\ncontent-length: 5\r\n\r\nhello" + HELLO, "interim"),
        (b"HTTP/1.1 199 H\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + HELLO, "interim"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nhello", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "transfer-encoding"),
        (b"HTTP/1.1 200 OK\r\n" + b"transfer-encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n", "transfer-encoding"),
        (b"HTTP/1.1 200 OK\r\na: b\r\n folded\r\ncontent-length: 0\r\n\r\n", "whitespace"),
        (b"HTTP/1.1 200 OK\r\na b: c\r\ncontent-length: 0\r\n\r\n", "header token"),
        (b"HTTP/1.1 200 OK\r\na: b\0c\r\ncontent-length: 0\r\n\r\n", "header value"),
        (b"HTTP/1.1 200 OK\ncontent-length: 0\n\n", "CR"),
        (CHUNKED + b"zz\r\n", "chunk size"),
        (CHUNKED + b"3\r\nhello\r\n", "chunk"),
        (CHUNKED + b"F" * 17 + b"\r\n", "overflow"),
    ],
    ids=range(19),
)
async def test_garbage(transport: HttpTransport, response: bytes, detail: str) -> None:
    """What breaks the protocol is a `PROTOCOL` failure that says what was wrong."""
    failure, said = await refusal(transport, response)
    assert failure is Failure.PROTOCOL
    assert detail in said


@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.1 200 OK\r\na: " + b"x" * MAX_HEAD, b"x" * 1000],
        [b"HTTP/1.1 200 OK\r\na: " + b"x" * MAX_HEAD + b"\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * (MAX_HEADERS + 1) + b"\r\n"],
        [b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_HEAD // 25 + 1), b"HTTP/1.1 100 Continue\r\n\r\n"],
        [CHUNKED + b"1;" + b"x" * MAX_HEAD, b"x" * 1000],
        [CHUNKED + b"0\r\nt: " + b"x" * MAX_HEAD, b"x" * 1000],
    ],
    ids=["endless header", "long header", "many headers", "endless interims", "endless extension", "endless trailer"],
)
async def test_bombs(transport: HttpTransport, pieces: list[bytes]) -> None:
    """Heads, trailers and chunk extensions are bounded; the upstream is not waited for."""

    async def script(peer: Peer) -> None:
        await peer.answer(*pieces)
        await peer.gone()

    async with serving(script) as server:
        assert await failing(transport, server) is Failure.PROTOCOL


async def test_largest_head_that_passes(transport: HttpTransport) -> None:
    """The bound on heads refuses nothing below it, in whatever pieces it comes."""
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n" + b"".join(b"h%d: %s\r\n" % (i, b"x" * 300) for i in range(200))
    assert len(head) < MAX_HEAD
    assert await ask(transport, head + b"\r\nok") == (200, b"ok")
    assert await ask(transport, head[:40_000], head[40_000:] + b"\r\nok") == (200, b"ok")


# --- the request's side


@pytest.mark.parametrize("size", [10_000, 100_000, BIG])
async def test_bodies_of_every_size_are_sent(transport: HttpTransport, size: int) -> None:
    """Bodies in one write and in slices arrive as they are."""
    body = bytes(range(256)) * (size // 256 + 1)
    seen = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.answer(HELLO))
        seen.append(await peer.answer(HELLO))

    async with serving(script) as server:
        for _ in range(2):
            reply = await transport.send(server.endpoint(), outbound(body), PATIENT, soon())
            assert await reply.read_all(10) == b"hello"
            reply.close()
        assert transport.counts.opened == 1
    assert [got for _, got in seen] == [body, body]


async def test_an_answer_before_the_request_is_sent(transport: HttpTransport) -> None:
    """A 413 that comes while the body is still on its way is delivered; the connection is not used again."""

    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport has it
        await peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
        await asyncio.sleep(5)

    async with serving(script) as server:
        reply = await transport.send(server.endpoint(), outbound(b"x" * BIG), PATIENT, soon())
        assert (reply.status, await reply.read_all(10)) == (413, b"big")
        reply.close()
        assert transport.connections() == {server.endpoint(): (1, 0)}  # going


async def test_an_early_answer_does_not_stop_the_request(transport: HttpTransport) -> None:
    """A server that begins to answer before it has read everything gets everything."""

    async def script(peer: Peer) -> None:
        head = await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(CHUNKED)
        body = await peer.reader.readexactly(int(head.rsplit(b": ", 1)[1]))
        await peer.send(b"7\r\n%07d\r\n0\r\n\r\n" % len(body))
        await peer.gone()

    async with serving(script) as server:
        reply = await transport.send(server.endpoint(), outbound(b"x" * BIG), PATIENT, soon())
        assert await reply.read_all(10) == b"%07d" % BIG
        reply.close()
        assert transport.connections() == {server.endpoint(): (1, 1)}


async def test_a_large_request_is_not_copied_into_the_socket_at_once(clean: None) -> None:
    """Beyond what the socket takes, the request stays where it is: one copy, the caller's."""
    bench = Bench()
    reply = bench.start(body=b"x" * BIG, room=3 * WRITE_SLICE)
    assert len(bench.wire.written) < 4 * WRITE_SLICE + 1000
    bench.wire.room = 2 * BIG
    bench.connection.resume_writing()
    assert len(bench.wire.written) > BIG
    reply.close()


# --- falling out of step


async def test_bytes_after_the_end_cost_the_connection(transport: HttpTransport) -> None:
    """What follows a complete response is no answer to the next request."""
    async with serving(answering(HELLO + b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbad")) as server:
        for _ in range(2):
            reply = await transport.send(server.endpoint(), outbound(), PATIENT, soon())
            assert await reply.read_all(10) == b"hello"
            reply.close()
        assert server.accepted == 2


@pytest.mark.parametrize(
    "first", [b"HTTP/1.1 500 E\r\ncontent-length: 3\r\n\r\nerr", CHUNKED + b"3\r\nerr\r\n0\r\n\r\n"]
)
async def test_connections_are_kept_after_errors(transport: HttpTransport, first: bytes) -> None:
    """An upstream's error is an answer like any other."""

    async def script(peer: Peer) -> None:
        await peer.answer(first)
        await peer.answer(HELLO)

    async with serving(script) as server:
        for expected in (b"err", b"hello"):
            reply = await transport.send(server.endpoint(), outbound(), PATIENT, soon())
            assert await reply.read_all(10) == expected
            reply.close()
        assert transport.counts.opened == 1


# --- against h11


def judge(pieces: list[bytes]) -> None:
    """Whatever h11 accepts is delivered alike; what it rejects is not delivered, but for the listed differences."""
    sent = b"".join(pieces)
    mine, reference = ours(pieces), theirs(pieces)
    if reference is None:
        assert mine.failure is not None or tolerated(sent), (sent, mine)
    elif mine.failure is not None:
        assert any(reason in mine.detail for reason in STRICTER), (sent, mine)
    else:
        assert comparable(mine) == comparable(reference), sent


@pytest.mark.asyncio(loop_factories=["asyncio"])
@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(responses().flatmap(split))
async def test_agrees_with_h11(pieces: list[bytes]) -> None:
    """Generated and mutated responses in random pieces."""
    judge(pieces)


@pytest.mark.slow
@pytest.mark.asyncio(loop_factories=["asyncio"])
@pytest.mark.timeout(900)
@settings(max_examples=10_000, suppress_health_check=list(HealthCheck))
@given(responses().flatmap(split))
async def test_agrees_with_h11_at_length(pieces: list[bytes]) -> None:
    """The same for minutes."""
    judge(pieces)


WHOLE = st.sampled_from(
    [
        (HELLO, b"hello"),
        (CHUNKED + b"5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nt: v\r\n\r\n", b"hello!"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\nlink: a\r\n\r\n" + HELLO, b"hello"),
        (b"HTTP/1.1 500 E\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx", b"x"),
    ]
)


@pytest.mark.asyncio(loop_factories=["asyncio"])
@given(st.lists(st.tuples(WHOLE, st.lists(st.integers(1, 90), max_size=4), st.booleans()), max_size=6))
async def test_nothing_of_one_response_is_left_for_the_next(
    rounds: list[tuple[tuple[bytes, bytes], list[int], bool]],
) -> None:
    """Responses one after the other on one connection, each in pieces: each as if it were alone."""
    bench = Bench()
    for (response, body), cuts, stream in rounds:
        places = sorted({0, *(cut for cut in cuts if cut < len(response)), len(response)})
        pieces = [response[a:b] for a, b in pairwise(places)]
        reply = bench.start(stream=stream)
        for piece in pieces:
            bench.connection.data_received(piece)
        alone = ours(pieces)
        assert (reply.complete, reply.status, await reply.read_all(100)) == (True, alone.status, body)
        assert tuple(sorted(reply.headers.items())) == alone.headers
        assert reply.encoded == (b"gzip" in response)
        reply.close()
        assert bench.idle == [bench.connection]
        bench.idle.clear()
    assert not bench.wire.aborted
    bench.connection.connection_lost(None)


@pytest.mark.asyncio(loop_factories=["asyncio"])
@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5))
async def test_noise_is_never_an_answer(pieces: list[bytes]) -> None:
    """Random bytes are rejected without any other exception."""
    assert ours(pieces).failure is not None


async def test_high_water_holds_the_upstream_back(clean: None) -> None:
    """Unread bytes above the mark pause the socket; reading them resumes it."""
    bench = Bench()
    reply = bench.start(stream=True)
    reading = [bench.wire.reading]
    bench.connection.data_received(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (HIGH_WATER + 1))
    reading.append(bench.wire.reading)
    assert len(await reply.read()) == HIGH_WATER + 1
    reading.append(bench.wire.reading)
    assert reading == [True, False, True]
    reply.close()


EVENT = b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("rest", "kept"),
    [(b"0\r\n\r\n", True), (b"5\r\nmore!\r\n0\r\n\r\n", True), (b"0\r\nx", False), (b"", False)],
    ids=["its end", "more, then its end", "rubbish", "nothing"],
)
async def test_answer_that_is_over_before_its_body_is(transport: HttpTransport, rest: bytes, *, kept: bool) -> None:
    """An answer's last event comes before the last chunk: the connection waits for that alone, then serves again."""

    async def script(peer: Peer) -> None:
        await peer.answer(CHUNKED + b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
        await until(lambda: let_go)
        await peer.send(rest)
        await peer.gone() if not kept else await peer.answer(HELLO)

    let_go = False
    async with serving(script) as server:
        reply = await transport.send(server.endpoint(), outbound(stream=True), PATIENT, soon())
        assert await reply.read() == EVENT
        reply.close(drain=True)
        let_go = True
        ours = (1, 1) if kept else (0, 0)
        await until(lambda: transport.connections().get(server.endpoint(), (0, 0)) == ours)
        if kept:
            again = await transport.send(server.endpoint(), outbound(), PATIENT, soon())
            assert await again.read_all(100) == b"hello"
            again.close()
            assert transport.counts.opened == 1
