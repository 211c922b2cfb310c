"""The upstream client over real sockets: sending, connecting, TLS, reuse, and letting go."""

from __future__ import annotations

from app.providers.transport import HttpTransport
from tests.providers.scripted import HELLO, PATIENT, Peer, answering, outbound, serving, soon


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
            assert await reply.read() == b"hello"
            assert await reply.read() == b""
            reply.close()
        assert (server.accepted, transport.opened, transport.reused, transport.resent) == (1, 1, 2, 0)
        assert transport.connections() == {server.endpoint(): (1, 1)}
