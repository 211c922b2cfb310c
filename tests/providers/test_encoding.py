"""Compressed bodies that nobody asked for: decoded with bounds, or refused."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import Failure, UpstreamFailure
from app.providers.encoding import MAX_PIECE, Inflater
from app.providers.transport import HttpTransport
from tests.providers.scripted import PATIENT, answering, outbound, serving, soon, until

TEXT = b"".join(b'data: {"n": %d}\n\n' % i for i in range(2000))
CODED = {
    "gzip": gzip.compress(TEXT),
    "X-GZIP": gzip.compress(TEXT),
    "deflate": zlib.compress(TEXT),
    "identity": TEXT,
    "": TEXT,
}


def response(coding: str, body: bytes) -> bytes:
    """A response with this coding."""
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def inflated(coding: str, pieces: list[bytes]) -> bytes:
    """What comes of the pieces."""
    inflater = Inflater(coding)
    out = b""
    for piece in pieces:
        out += inflater.decode(piece)
        while inflater.waiting:
            out += inflater.decode(b"")
    assert inflater.whole
    return out


@pytest.mark.parametrize("coding", CODED)
async def test_codings(transport: HttpTransport, coding: str) -> None:
    """gzip and deflate are undone on the way, whole and piece by piece; the connection is kept."""
    async with serving(answering(response(coding, CODED[coding]))) as server:
        reply = await transport.send(server.endpoint(), outbound(), PATIENT, soon())
        assert await reply.read_all(len(TEXT)) == TEXT
        reply.close()
        reply = await transport.send(server.endpoint(), outbound(stream=True), PATIENT, soon())
        got = b""
        while piece := await reply.read():
            got += piece
        reply.close()
        assert got == TEXT
        decoded = "content-encoding" not in reply.headers
        assert decoded == (coding not in {"identity", ""})
        assert transport.connections() == {server.endpoint(): (1, 1)}


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "compress"])
async def test_codings_that_are_not_spoken(transport: HttpTransport, coding: str) -> None:
    """Others are refused by name."""
    async with serving(answering(response(coding, b"x"))) as server:
        with pytest.raises(UpstreamFailure) as caught:
            await transport.send(server.endpoint(), outbound(), PATIENT, soon())
    assert (caught.value.failure, caught.value.sent) == (Failure.PROTOCOL, True)
    assert repr(coding) in caught.value.detail


@pytest.mark.parametrize(
    ("body", "failure"),
    [
        (CODED["gzip"][:-9], Failure.TRUNCATED),
        (CODED["gzip"][:1], Failure.TRUNCATED),
        (CODED["gzip"][:-1] + b"\xff", Failure.PROTOCOL),
        (b"no gzip at all", Failure.PROTOCOL),
        (CODED["gzip"] + b"and more", Failure.PROTOCOL),
        (b"", None),
    ],
    ids=["cut", "one byte", "wrong checksum", "no gzip", "surplus", "empty"],
)
async def test_broken_streams(transport: HttpTransport, body: bytes, failure: Failure | None) -> None:
    """A compressed body that is cut or broken is never taken for a whole one; none at all is fine."""
    async with serving(answering(response("gzip", body))) as server:
        reply = await transport.send(server.endpoint(), outbound(), PATIENT, soon())
        outcome: bytes | Failure
        try:
            outcome = await reply.read_all(1 << 20)
        except UpstreamFailure as error:
            outcome = error.failure
        reply.close()
        assert outcome == (failure or b"")


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_a_bomb_is_given_up_on(transport: HttpTransport) -> None:
    """A body that grows a thousandfold takes bounded memory, and fails."""
    bomb = gzip.compress(bytes(1 << 26), 9)
    async with serving(answering(response("gzip", bomb))) as server:
        reply = await transport.send(server.endpoint(), outbound(stream=True), PATIENT, soon())
        longest = 0
        tracemalloc.start()
        failure = None
        while failure is None:
            try:
                longest = max(longest, len(await reply.read()))
            except UpstreamFailure as error:
                failure = error.failure
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (failure, longest) == (Failure.PROTOCOL, MAX_PIECE)
        assert peak < 8 * MAX_PIECE
        reply.close()


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_well_compressed_text_is_no_bomb(transport: HttpTransport) -> None:
    """What upstreams do send, repetitive events, stays far below the ratio."""
    events = [
        b'data: {"id":"chatcmpl-1","choices":[{"delta":{"content":" word%d"}}]}\n\n' % (i % 50) for i in range(300_000)
    ]
    text = b"".join(events)
    async with serving(answering(response("gzip", gzip.compress(text, 6)))) as server:
        reply = await transport.send(server.endpoint(), outbound(), PATIENT, soon())
        assert await reply.read_all(len(text)) == text
        reply.close()


@given(
    st.sampled_from(["gzip", "deflate", "raw", "members"]),
    st.lists(st.integers(0, 400), max_size=6),
    st.sampled_from([b"", b"a", b"hello " * 50, bytes(MAX_PIECE * 2 + 17)]),
)
def test_any_split(kind: str, cuts: list[int], text: bytes) -> None:
    """However it is cut, the text comes out; also without zlib's header, and of several gzip members."""
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    data = {
        "gzip": gzip.compress(text, mtime=0),
        "deflate": zlib.compress(text),
        "raw": squeeze.compress(text) + squeeze.flush(),
        "members": gzip.compress(text[:3], mtime=0) + gzip.compress(text[3:], mtime=0),
    }[kind]
    places = [0, *sorted(cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(places)]
    assert inflated("gzip" if kind in {"gzip", "members"} else "deflate", pieces) == text


async def test_a_new_member_that_is_cut_does_not_hang(transport: HttpTransport) -> None:
    """One byte of what might be another gzip member: the body is cut."""
    body = CODED["gzip"] + b"\x1f"
    async with serving(answering(response("gzip", body))) as server:
        reply = await transport.send(server.endpoint(), outbound(), PATIENT, soon())
        with pytest.raises(UpstreamFailure) as caught:
            await reply.read_all(1 << 20)
        assert caught.value.failure is Failure.TRUNCATED
        reply.close()


async def test_closing_a_decoded_reply_closes_the_connection(transport: HttpTransport) -> None:
    """Leaving early is leaving."""
    async with serving(answering(response("gzip", CODED["gzip"])[:-20])) as server:
        reply = await transport.send(server.endpoint(), outbound(), PATIENT, soon())
        reply.close()
        await until(lambda: not transport.connections())
