"""The upstream client over real sockets: sending, connecting, TLS, sending once more, and letting go."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import trustme

from app.errors import Failure, UpstreamFailure
from app.exchange import Endpoint, Outbound, Timeouts
from app.providers.http1 import Connection
from app.providers.transport import HttpTransport
from tests.providers.certificates import client_tls, server_tls
from tests.providers.scripted import CHUNKED, HELLO, PATIENT, Peer, answering, outbound, serving, soon, until

QUICK = Timeouts(connect=0.1, first_token=5, between_tokens=5, total=5)


@pytest_asyncio.fixture
async def trusting(clean: None) -> AsyncIterator[HttpTransport]:
    """A transport that trusts the tests' authority."""
    client = HttpTransport(make_tls=client_tls)
    yield client
    await client.aclose()
    assert client.connections() == {}


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


# --- sending


async def test_request_and_reply(transport: HttpTransport) -> None:
    """What is sent, byte for byte, and what comes back."""
    seen = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.answer(HELLO))
        await peer.gone()

    async with serving(script) as server:
        reply = await transport.send(server.endpoint(), outbound(b'{"a":1}'), PATIENT, soon())
        assert (reply.status, dict(reply.headers)) == (200, {"content-length": "5"})
        assert await reply.read_all(100) == b"hello"
        reply.close()
    head = f"POST /v1/chat HTTP/1.1\r\nhost: 127.0.0.1:{server.port}\r\naccept-encoding: identity\r\n"
    assert seen == [((head + "content-type: application/json\r\ncontent-length: 7").encode(), b'{"a":1}')]


async def test_connections_are_kept_and_reused(transport: HttpTransport) -> None:
    """One connection serves requests one after the other."""
    async with serving(answering(HELLO)) as server:
        for _ in range(3):
            reply = await transport.send(server.endpoint(), outbound(), PATIENT, soon())
            assert [await reply.read(), await reply.read()] == [b"hello", b""]
            reply.close()
        assert (server.accepted, transport.counts.opened, transport.counts.reused, transport.counts.resent) == (
            1,
            1,
            2,
            0,
        )
        assert transport.connections() == {server.endpoint(): (1, 1)}


async def test_at_the_same_time(transport: HttpTransport) -> None:
    """Requests that overlap have connections of their own."""
    together = asyncio.Barrier(3)

    async def script(peer: Peer) -> None:
        _, body = await peer.request()
        await together.wait()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n" + body)
        await peer.gone()

    async with serving(script) as server, asyncio.timeout(5):
        bodies = [b"a", b"b", b"c"]
        got = await asyncio.gather(*(fetch(transport, server.endpoint(), outbound(body)) for body in bodies))
        assert got == bodies
        assert transport.connections() == {server.endpoint(): (3, 3)}


async def test_small_writes_are_not_held_back(transport: HttpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """TCP_NODELAY is set on both kinds of loop."""
    made = []
    connected = Connection.connection_made

    def spy(self: Connection, transport: asyncio.BaseTransport) -> None:
        made.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        connected(self, transport)

    monkeypatch.setattr(Connection, "connection_made", spy)
    async with serving(answering(HELLO)) as server:
        await fetch(transport, server.endpoint())
    assert made
    assert all(made)


async def test_a_malformed_request_is_not_sent(transport: HttpTransport) -> None:
    """What could smuggle a second request never reaches a socket."""
    async with serving(answering(HELLO)) as server:
        request = Outbound("POST", "/chat", (("x-request-id", "a\r\nhost: b"),), b"{}", stream=False)
        error = await failure_of(transport, server.endpoint(), request)
        assert (error.failure, error.sent, server.accepted) == (Failure.PROTOCOL, False, 0)


async def test_a_deadline_that_has_passed(transport: HttpTransport) -> None:
    """Nothing is sent after the deadline."""
    async with serving(answering(HELLO)) as server:
        with pytest.raises(UpstreamFailure) as caught:
            await transport.send(server.endpoint(), outbound(), PATIENT, soon(0))
        assert (caught.value.failure, caught.value.sent) == (Failure.TOTAL_TIMEOUT, False)
        assert server.accepted == 0


# --- sending once more


async def test_a_reused_connection_that_closes_is_replaced_once(transport: HttpTransport) -> None:
    """The upstream hung up on an idle connection just as it was used again."""
    seen = []

    async def script(peer: Peer) -> None:
        await peer.answer(HELLO)
        seen.append(await peer.request())
        if peer.number == 0:
            return  # close without a byte
        await peer.send(HELLO)
        await peer.gone()

    async with serving(script) as server:
        first = await fetch(transport, server.endpoint(), outbound(b"1"))
        both = await asyncio.gather(*(fetch(transport, server.endpoint(), outbound(b"2")) for _ in range(1)))
        assert (first, both, server.accepted) == (b"hello", [b"hello"], 2)
        assert (transport.counts.opened, transport.counts.reused, transport.counts.resent) == (2, 1, 1)
    assert [body for _, body in seen] == [b"2"]


async def test_it_is_replaced_only_once(transport: HttpTransport) -> None:
    """When the fresh connection closes too, that is the answer."""

    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await peer.answer(HELLO)
        await peer.request()

    async with serving(script) as server:
        await fetch(transport, server.endpoint())
        error = await failure_of(transport, server.endpoint())
        assert (error.failure, error.sent) == (Failure.CLOSED, True)
        assert (server.accepted, transport.counts.resent) == (2, 1)


async def test_a_fresh_connection_that_closes_is_not_replaced(transport: HttpTransport) -> None:
    """Only an idle connection may be presumed dead."""

    async def script(peer: Peer) -> None:
        await peer.request()

    async with serving(script) as server:
        error = await failure_of(transport, server.endpoint())
        assert (error.failure, error.sent, server.accepted, transport.counts.resent) == (Failure.CLOSED, True, 1, 0)


@pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", CHUNKED], ids=["byte", "interim", "head"])
async def test_an_answer_that_began_is_never_asked_for_again(transport: HttpTransport, begun: bytes) -> None:
    """After the first byte of a response a reused connection gets no second chance."""

    async def script(peer: Peer) -> None:
        await peer.answer(HELLO)
        await peer.answer(begun)

    async with serving(script) as server:
        await fetch(transport, server.endpoint())
        assert (await failure_of(transport, server.endpoint())).failure is Failure.TRUNCATED
        assert (server.accepted, transport.counts.resent) == (1, 0)


async def test_no_second_connection_to_be_had(transport: HttpTransport) -> None:
    """Sending once more fails to connect: the first try may have been billed, and the failure says so."""
    again = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.answer(HELLO)
        await peer.request()
        again.set()

    async with serving(script) as server:
        endpoint = server.endpoint()
        await fetch(transport, endpoint)
        assert server._server is not None
        server._server.close()
        error = await failure_of(transport, endpoint)
        assert (error.failure, error.sent, again.is_set()) == (Failure.CONNECT, True, True)


# --- connecting


async def test_refused(transport: HttpTransport, unused_tcp_port: int) -> None:
    """Nobody listens."""
    error = await failure_of(transport, Endpoint("http", "127.0.0.1", unused_tcp_port, ""))
    assert (error.failure, error.sent) == (Failure.CONNECT, False)
    assert transport.connections() == {}


@pytest.mark.parametrize(
    "endpoint",
    [
        Endpoint("http", "no..such..name", 80, ""),
        Endpoint("http", "x" * 64 + ".example", 80, ""),
        Endpoint("http", "127.0.0.1", 70000, ""),
        Endpoint("http", "127.0.0.1", 1 << 80, ""),
        Endpoint("http", "255.255.255.255", 80, ""),
    ],
    ids=["empty label", "long label", "port", "huge port", "unreachable"],
)
async def test_nowhere_to_connect_to(transport: HttpTransport, endpoint: Endpoint) -> None:
    """Names and ports that are none, and an address that cannot be reached."""
    error = await failure_of(transport, endpoint)
    assert (error.failure, error.sent) == (Failure.CONNECT, False)


@contextlib.asynccontextmanager
async def full_backlog() -> AsyncIterator[Endpoint]:
    """An address where connecting hangs: a listener that accepts nothing and whose queue is full."""
    with contextlib.ExitStack() as held:
        listener = held.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(4):
            filler = held.enter_context(socket.socket())
            filler.settimeout(0)
            filler.connect_ex(("127.0.0.1", port))
        await asyncio.sleep(0.01)
        yield Endpoint("http", "127.0.0.1", port, "")


async def test_connecting_takes_too_long(transport: HttpTransport) -> None:
    """`connect` bounds it, unless the deadline comes first; nothing stays behind."""
    async with full_backlog() as endpoint:
        error = await failure_of(transport, endpoint, timeouts=QUICK)
        assert (error.failure, error.sent) == (Failure.CONNECT_TIMEOUT, False)
        with pytest.raises(UpstreamFailure) as caught:
            await transport.send(endpoint, outbound(), PATIENT, soon(0.1))
        assert (caught.value.failure, caught.value.sent) == (Failure.TOTAL_TIMEOUT, False)
        assert transport.connections() == {}


async def test_cancelled_while_connecting(transport: HttpTransport) -> None:
    """The attempt ends with its caller."""
    async with full_backlog() as endpoint:
        caller = asyncio.create_task(fetch(transport, endpoint))
        await until(lambda: transport.connections() == {endpoint: (1, 0)})
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert transport.connections() == {}


async def test_a_dead_address_costs_its_share_of_the_time(
    transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with two addresses, of which the first never answers: the second one does."""

    async def addresses(_: Endpoint) -> list[str]:
        return ["127.0.0.1", "127.0.0.2"]

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HELLO)
        await reader.read()
        writer.close()

    monkeypatch.setattr(transport, "_addresses", addresses)
    async with full_backlog() as endpoint:
        server = await asyncio.start_server(handler, "127.0.0.2", endpoint.port)
        assert await fetch(transport, endpoint, timeouts=Timeouts(connect=0.6)) == b"hello"
        await transport.aclose()
        server.close()


@pytest.mark.parametrize("turns", range(6))
async def test_cancelled_at_every_step(transport: HttpTransport, turns: int) -> None:
    """However far it has come when its caller goes, no connection is left."""
    async with serving(answering(HELLO)) as server:
        caller = asyncio.create_task(fetch(transport, server.endpoint()))
        for _ in range(turns):
            await asyncio.sleep(0)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        await until(lambda: all(total == idle for total, idle in transport.connections().values()))


@pytest.mark.parametrize("greeting", [b"", b"220 smtp.example ESMTP\r\n"], ids=["closes", "speaks first"])
async def test_a_server_of_another_kind(transport: HttpTransport, greeting: bytes) -> None:
    """Something that closes or speaks at once is a failure, not a hang."""

    async def script(peer: Peer) -> None:
        await peer.send(greeting)

    async with serving(script) as server:
        error = await failure_of(transport, server.endpoint())
        assert error.failure in {Failure.CLOSED, Failure.PROTOCOL}


async def test_ipv6(transport: HttpTransport) -> None:
    """An IPv6 address, which the host header puts in brackets."""
    seen = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(HELLO)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(handler, "::1", 0)
    port = server.sockets[0].getsockname()[1]
    assert await fetch(transport, Endpoint("http", "::1", port, ""), outbound(b"", method="GET")) == b"hello"
    assert f"host: [::1]:{port}".encode() in seen[0]
    await transport.aclose()
    server.close()


# --- TLS


async def test_tls(trusting: HttpTransport) -> None:
    """A request over TLS, on a connection that is kept; the server is told the name it is called by."""
    names = []
    context = server_tls("localhost")
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    async with serving(answering(HELLO), context) as server:
        endpoint = server.endpoint("localhost")
        assert [await fetch(trusting, endpoint) for _ in range(2)] == [b"hello", b"hello"]
        assert trusting.connections() == {endpoint: (1, 1)}
    assert names == ["localhost"]


async def test_tls_large_both_ways(trusting: HttpTransport) -> None:
    """Bodies larger than any buffer, both ways."""
    size = 4_000_000

    async def script(peer: Peer) -> None:
        _, body = await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size, body)
        await peer.gone()

    async with serving(script, server_tls("localhost")) as server:
        reply = await trusting.send(server.endpoint("localhost"), outbound(b"x" * size), PATIENT, soon())
        assert await reply.read_all(size) == b"x" * size
        reply.close()


@pytest.mark.parametrize("trusted", [True, False], ids=["wrong name", "unknown authority"])
async def test_tls_that_proves_nothing(trusting: HttpTransport, trusted: object) -> None:
    """A certificate for another name, or from nobody we trust: no connection, nothing sent."""
    context = server_tls("other.example") if trusted else server_tls("localhost", ca=trustme.CA())
    async with serving(answering(HELLO), context) as server:
        error = await failure_of(trusting, server.endpoint("localhost"))
        assert (error.failure, error.sent) == (Failure.CONNECT, False)
        assert "certificate" in error.detail.lower()


async def test_the_system_trust_store_is_the_default(transport: HttpTransport) -> None:
    """Without further ado, the tests' own authority is not trusted."""
    async with serving(answering(HELLO), server_tls("localhost")) as server:
        assert (await failure_of(transport, server.endpoint("localhost"))).failure is Failure.CONNECT


async def test_a_handshake_that_hangs(trusting: HttpTransport) -> None:
    """`connect` bounds the handshake too."""

    async def script(peer: Peer) -> None:
        await peer.gone()

    async with serving(script) as server:
        error = await failure_of(trusting, Endpoint("https", "localhost", server.port, ""), timeouts=QUICK)
        assert (error.failure, error.sent) == (Failure.CONNECT_TIMEOUT, False)


async def test_tls_cut_off(trusting: HttpTransport) -> None:
    """A body without a length that ends without TLS's own goodbye may have been cut: it is not whole."""

    async def script(peer: Peer) -> None:
        await peer.answer(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await asyncio.sleep(0.05)
        peer.writer.transport.abort()

    async with serving(script, server_tls("localhost")) as server:
        error = await failure_of(trusting, server.endpoint("localhost"))
        assert error.failure is Failure.TRUNCATED


# --- the end


async def test_closing_the_transport_ends_what_is_under_way(clean: None) -> None:
    """Requests that are still waiting fail; idle connections are closed."""

    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await peer.answer(HELLO)
        await peer.gone()

    client = HttpTransport()
    async with serving(script) as server:
        held = await client.send(server.endpoint(), outbound(), PATIENT, soon())
        waiting = asyncio.create_task(fetch(client, server.endpoint()))
        await until(lambda: server.accepted == 2)
        held.close()
        assert client.connections() == {server.endpoint(): (2, 1)}
        await client.aclose()
        assert client.connections() == {}
        with pytest.raises(UpstreamFailure) as caught:
            await waiting
        assert caught.value.failure is Failure.CLOSED
