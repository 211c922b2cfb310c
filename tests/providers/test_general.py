"""The client for proxies and HTTP/2: the same promises as the fast one, kept through httpx2."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from app.errors import Failure, UpstreamFailure
from app.exchange import Endpoint, Outbound, Timeouts
from app.providers.transport import HttpTransport
from tests.providers.certificates import client_tls, server_tls
from tests.providers.middlemen import H2Peer, http_proxy, socks_proxy
from tests.providers.scripted import (
    CHUNKED,
    HELLO,
    PATIENT,
    Peer,
    answering,
    outbound,
    serving,
    soon,
    until,
)

FEW = Timeouts(connect=5, first_token=0.1, between_tokens=0.1, total=5)


@pytest_asyncio.fixture
async def client(clean: None) -> AsyncIterator[HttpTransport]:
    """A transport that trusts the tests' authority."""
    transport = HttpTransport(make_tls=client_tls)
    yield transport
    await transport.aclose()
    assert transport.connections() == {}


async def fetch(
    transport: HttpTransport, endpoint: Endpoint, request: Outbound | None = None, timeouts: Timeouts = PATIENT
) -> bytes:
    """The whole body of a reply."""
    reply = await transport.send(endpoint, request or outbound(), timeouts, soon())
    try:
        return await reply.read_all(1_000_000)
    finally:
        reply.close()


async def failure_of(
    transport: HttpTransport, endpoint: Endpoint, request: Outbound | None = None, timeouts: Timeouts = PATIENT
) -> UpstreamFailure:
    """How fetching fails."""
    with pytest.raises(UpstreamFailure) as caught:
        await fetch(transport, endpoint, request, timeouts)
    return caught.value


# --- proxies


async def test_through_an_http_proxy(client: HttpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain request goes to the proxy with the whole URL; nothing is read from the environment."""
    monkeypatch.setenv("NO_PROXY", "*")
    lines: list[bytes] = []
    seen = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.answer(HELLO))
        seen.append(await peer.answer(HELLO))

    async with serving(script) as server, serving(http_proxy(lines)) as proxy:
        endpoint = server.endpoint(proxy=f"http://127.0.0.1:{proxy.port}")
        assert [await fetch(client, endpoint) for _ in range(2)] == [b"hello", b"hello"]
        assert (proxy.accepted, client.counts.opened, client.counts.reused) == (1, 1, 1)
        assert client.connections() == {endpoint: (1, 1)}
    assert lines == [f"POST http://127.0.0.1:{server.port}/v1/chat HTTP/1.1".encode()]
    head, body = seen[0]
    fields = [line.split(b": ")[0].lower() for line in head.split(b"\r\n")[1:]]
    assert sorted(fields) == [b"accept-encoding", b"content-length", b"content-type", b"host"]
    assert body == b"{}"


async def test_through_a_tunnel(client: HttpTransport) -> None:
    """TLS to the upstream goes through CONNECT: the proxy sees no request."""
    lines: list[bytes] = []
    async with serving(answering(HELLO), server_tls("localhost")) as server, serving(http_proxy(lines)) as proxy:
        endpoint = server.endpoint("localhost", proxy=f"http://127.0.0.1:{proxy.port}")
        assert await fetch(client, endpoint) == b"hello"
    assert lines == [f"CONNECT localhost:{server.port} HTTP/1.1".encode()]


async def test_through_socks(client: HttpTransport) -> None:
    """A SOCKS 5 proxy resolves the name."""
    names: list[bytes] = []
    async with serving(answering(HELLO)) as server, serving(socks_proxy(names)) as proxy:
        assert await fetch(client, server.endpoint("upstream.example", proxy=f"socks5h://127.0.0.1:{proxy.port}"))
    assert names == [b"upstream.example"]


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", Failure.CONNECT),
        (b"", Failure.CONNECT),
        (b"garbage\r\n\r\n", Failure.PROTOCOL),
    ],
    ids=["refuses", "closes", "garbage"],
)
async def test_a_proxy_that_lets_nobody_through(client: HttpTransport, answer: bytes, failure: Failure) -> None:
    """Nothing was sent to the upstream."""

    async def script(peer: Peer) -> None:
        await peer.answer(answer)

    async with serving(script) as proxy:
        endpoint = Endpoint("https", "localhost", 1, "/v1", proxy=f"http://127.0.0.1:{proxy.port}")
        error = await failure_of(client, endpoint)
        assert (error.failure, error.sent) == (failure, False)


@pytest.mark.parametrize(
    "answer", [b"", b"\x05", b"\x05\xff", b"\x04\x00", b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=range(5)
)
async def test_a_socks_proxy_that_is_none(client: HttpTransport, answer: bytes) -> None:
    """Whatever it says, it is a failure to connect."""

    async def script(peer: Peer) -> None:
        await peer.reader.readexactly(3)
        await peer.send(answer)

    async with serving(script) as proxy:
        endpoint = Endpoint("http", "localhost", 1, "/v1", proxy=f"socks5://127.0.0.1:{proxy.port}")
        error = await failure_of(client, endpoint)
        assert (error.failure, error.sent) == (Failure.CONNECT, False)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_proxy_there(client: HttpTransport, scheme: str, unused_tcp_port: int) -> None:
    """Nobody listens at the proxy's address."""
    error = await failure_of(client, Endpoint(scheme, "localhost", 1, "", proxy=f"http://127.0.0.1:{unused_tcp_port}"))
    assert (error.failure, error.sent) == (Failure.CONNECT, False)


async def test_a_proxy_that_hangs(client: HttpTransport) -> None:
    """Waiting for the tunnel is part of connecting."""

    async def script(peer: Peer) -> None:
        await peer.gone()

    async with serving(script) as proxy:
        endpoint = Endpoint("https", "localhost", 1, "", proxy=f"http://127.0.0.1:{proxy.port}")
        error = await failure_of(client, endpoint, timeouts=Timeouts(connect=0.2))
        assert (error.failure, error.sent) == (Failure.CONNECT_TIMEOUT, False)


# --- HTTP/2


async def test_http2(client: HttpTransport) -> None:
    """Negotiated by ALPN; requests one after the other share a connection."""
    seen = []

    async def script(peer: Peer) -> None:
        http = H2Peer(peer)
        while True:
            await http.request()
            seen.append((http.headers, http.body))
            await http.head(200, content_type="text/event-stream")
            await http.data(b"data: 1\n\n")
            await http.data(b"data: 2\n\n", end=True)

    async with serving(script, server_tls("localhost", alpn=("h2",))) as server:
        endpoint = server.endpoint("localhost", http2=True)
        for _ in range(2):
            reply = await client.send(endpoint, outbound(stream=True), PATIENT, soon())
            assert (reply.status, dict(reply.headers)) == (200, {"content-type": "text/event-stream"})
            assert await reply.read_all(100) == b"data: 1\n\ndata: 2\n\n"
            reply.close()
        assert server.accepted == 1
    headers, body = seen[0]
    assert (headers[":method"], headers[":path"], headers["accept-encoding"], body) == (
        "POST",
        "/v1/chat",
        "identity",
        b"{}",
    )


async def test_http2_is_asked_for_not_forced(client: HttpTransport) -> None:
    """A server that does not speak it gets HTTP/1.1, with TLS and without."""
    async with serving(answering(HELLO), server_tls("localhost")) as server:
        assert await fetch(client, server.endpoint("localhost", http2=True)) == b"hello"
    async with serving(answering(HELLO)) as server:
        assert await fetch(client, server.endpoint(http2=True)) == b"hello"


@pytest.mark.parametrize("begun", [False, True], ids=["before the head", "within the body"])
async def test_leaving_an_http2_stream_tells_the_upstream(client: HttpTransport, begun: object) -> None:
    """httpcore2 would leave the stream open, and the upstream at work."""
    waiting, gone = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        http = H2Peer(peer)
        await http.request()
        if begun:
            await http.head()
            await http.data(b"data: 1\n\n")
        waiting.set()
        await peer.gone()
        gone.set()

    async with serving(script, server_tls("localhost", alpn=("h2",))) as server:
        caller = asyncio.create_task(fetch(client, server.endpoint("localhost", http2=True), outbound(stream=True)))
        await waiting.wait()
        await asyncio.sleep(0.02)
        caller.cancel()
        await until(gone.is_set, within=0.1)
        with pytest.raises(asyncio.CancelledError):
            await caller


@pytest.mark.parametrize("kind", ["reset", "goaway", "closed", "garbage", "late garbage"])
async def test_http2_that_breaks(client: HttpTransport, kind: str) -> None:
    """However an HTTP/2 upstream fails, it is an `UpstreamFailure`."""

    async def script(peer: Peer) -> None:
        http = H2Peer(peer)
        await http.request()
        if kind != "garbage":
            await http.head()
            await http.data(b"data: 1\n\n")
        match kind:
            case "reset":
                http.http.reset_stream(http.stream, 2)
                await http.flush()
                await peer.gone()
            case "goaway":
                http.http.close_connection(2)
                await http.flush()
            case "garbage" | "late garbage":
                await asyncio.sleep(0.02)
                await peer.send(b"\0\0\1\0\0\0\0\0\0x")  # a DATA frame that belongs to no stream
                await peer.gone()

    async with serving(script, server_tls("localhost", alpn=("h2",))) as server:
        error = await failure_of(client, server.endpoint("localhost", http2=True), outbound(stream=True))
        expected = Failure.PROTOCOL if "garbage" in kind else Failure.TRUNCATED
        assert (error.failure, error.sent) == (expected, True)


# --- the same promises


@pytest.mark.parametrize(
    ("sent", "stream", "failure"),
    [
        (b"", "stream", Failure.FIRST_BYTE_TIMEOUT),
        (CHUNKED, "stream", Failure.FIRST_BYTE_TIMEOUT),
        (CHUNKED + b"1\r\na\r\n", "stream", Failure.BETWEEN_BYTES_TIMEOUT),
        (b"", "whole", Failure.TOTAL_TIMEOUT),
        (CHUNKED + b"1\r\na\r\n", "whole", Failure.TOTAL_TIMEOUT),
    ],
    ids=range(5),
)
async def test_silence(client: HttpTransport, sent: bytes, stream: str, failure: Failure) -> None:
    """An upstream that falls silent is given up on, in whatever phase, and notices."""
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.answer(sent)
        await peer.gone()
        gone.set()

    async with serving(script) as server:
        streamed = stream == "stream"
        with pytest.raises(UpstreamFailure) as caught:
            await silent(client, server.endpoint(http2=True), streamed=streamed)
        assert (caught.value.failure, caught.value.sent) == (failure, True)
        await until(gone.is_set)


async def silent(client: HttpTransport, endpoint: Endpoint, *, streamed: bool) -> bytes:
    """A body under short timeouts."""
    deadline = soon(5) if streamed else soon(0.5)
    reply = await client.send(endpoint, outbound(stream=streamed), FEW, deadline)
    return await reply.read_all(100)


@pytest.mark.parametrize(
    ("response", "failure"),
    [
        (b"", Failure.CLOSED),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello", Failure.TRUNCATED),
        (CHUNKED + b"5\r\nhel", Failure.TRUNCATED),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Failure.PROTOCOL),
        (CHUNKED + b"zz\r\n", Failure.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\na: " + b"x" * 200_000 + b"\r\n\r\n", Failure.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\n\r\n", Failure.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n" + gzip.compress(b"x")[:-4], Failure.TRUNCATED),
    ],
    ids=range(8),
)
async def test_broken_responses(client: HttpTransport, response: bytes, failure: Failure) -> None:
    """What must not be delivered is not delivered, and means the same as with the fast client."""

    async def script(peer: Peer) -> None:
        await peer.answer(response)

    async with serving(script) as server:
        error = await failure_of(client, server.endpoint(http2=True))
        assert (error.failure, error.sent) == (failure, True)


async def test_decoded(client: HttpTransport) -> None:
    """gzip that nobody asked for is undone."""
    body = gzip.compress(b"hello")
    response = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    async with serving(answering(response)) as server:
        assert await fetch(client, server.endpoint(http2=True)) == b"hello"


async def test_reused_but_closed(client: HttpTransport) -> None:
    """A kept connection that the upstream closes as it is used again is replaced once."""

    async def script(peer: Peer) -> None:
        await peer.answer(HELLO)
        await peer.request()

    async with serving(script) as server:
        endpoint = server.endpoint(http2=True)
        assert [await fetch(client, endpoint) for _ in range(3)] == [b"hello"] * 3
        assert server.accepted == 3
        assert client.counts.resent == 2


async def test_malformed_requests_are_not_sent(client: HttpTransport) -> None:
    """The same checks as the fast client's."""
    async with serving(answering(HELLO)) as server:
        request = Outbound("POST", "/chat", (("a", "b\r\nc: d"),), b"", stream=False)
        error = await failure_of(client, server.endpoint(http2=True), request)
        assert (error.failure, error.sent, server.accepted) == (Failure.PROTOCOL, False, 0)


async def test_idle_connections_are_closed(clean: None) -> None:
    """Before the upstream does it."""
    transport = HttpTransport(idle_limit=0.3)
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.answer(HELLO)
        await peer.gone()
        gone.set()

    async with serving(script) as server:
        assert await fetch(transport, server.endpoint(http2=True)) == b"hello"
        await until(gone.is_set, within=0.5)
        await until(lambda: not transport.connections())
        await transport.aclose()
