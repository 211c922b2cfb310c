"""The upstream HTTP client: the one place that opens sockets to upstreams.

`send` writes one request and returns when the response's head is here. HTTP/1.1 goes over connections of our own
(`http1`), kept alive per endpoint; an endpoint with a proxy or HTTP/2 goes through httpx2 (`general`). Either way the
only exception besides cancellation is `UpstreamFailure`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from socket import SOCK_STREAM
from typing import Final

from app.errors import Failure, UpstreamFailure
from app.exchange import Endpoint, Outbound, Timeouts
from app.outbox import Outbox
from app.providers.encoding import DecodedReply, coding_of
from app.providers.failures import FOREIGN, Phase, upstream_failure
from app.providers.general import GeneralClient, GeneralReply
from app.providers.http1 import TICK, Connection
from app.providers.pool import Counts, Pools
from app.providers.reply import HttpReply
from app.providers.trust import Trust
from app.vigil import Vigil

IDLE_LIMIT: Final = 4.0
"""Seconds. uvicorn, hence vLLM, closes idle connections after 5."""
CLOSE_LIMIT: Final = 1.0
"""Seconds that `aclose` waits for aborted connections."""

AnyReply = HttpReply | DecodedReply | GeneralReply


class HttpTransport:
    """Sends requests to upstreams. Make it inside a running event loop; it belongs to that loop.

    What it writes goes through `outbox`; `vigil` hears of what comes. `idle_limit` is in seconds. `make_tls` gives a
    client context with the trust wanted; by default the system's.
    """

    def __init__(
        self,
        outbox: Outbox | None = None,
        vigil: Vigil | None = None,
        *,
        idle_limit: float = IDLE_LIMIT,
        make_tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._outbox = outbox or Outbox(self._loop)
        self._vigil = vigil or Vigil(self._loop)
        self._time = self._loop.time
        self._trust = Trust(make_tls)
        self._pools: Pools[Connection] = Pools(idle_limit)
        self._general: GeneralClient | None = None
        self._idle_limit = idle_limit
        self.counts = Counts()

    def connections(self) -> dict[Endpoint, tuple[int, int]]:
        """Per endpoint that has any: connections open or being opened, and how many of them idle."""
        return self._pools.counts() | ({} if self._general is None else self._general.connections())

    async def send(self, endpoint: Endpoint, request: Outbound, timeouts: Timeouts, deadline: float) -> AnyReply:
        """The reply, as soon as its head is here; `deadline` is loop time. Raises `UpstreamFailure`.

        The caller closes the reply, always. A request on a reused connection that closes before any byte of a response
        is sent once more, on a fresh one.
        """
        if endpoint.proxy is not None or endpoint.http2:
            return await self._general_client().send(endpoint, request, timeouts, deadline)
        pool = self._pools.by_endpoint.get(endpoint) or self._pools.add(endpoint)
        head = pool.heads.render(request)
        now = self._time()
        if deadline <= now:
            raise UpstreamFailure(Failure.TOTAL_TIMEOUT, "the deadline passed before the request was sent", sent=False)
        connection = pool.take(now)
        again = False
        while True:
            fresh = connection is None
            if connection is None:
                connection = await self._connect(endpoint, timeouts, deadline, sent=again)
                now = self._time()
            else:
                self.counts.reused += 1
            reply = HttpReply(timeouts, deadline, now, stream=request.stream, head_only=request.method == "HEAD")
            connection.start(reply, head, request.body)
            try:
                while not reply.status and reply.failure is None:
                    waiter = connection.waiter = connection.create_future()
                    await waiter
            except BaseException:
                reply.close()
                raise
            if fresh or reply.status or not reply.unanswered:
                return reply if reply.status and not reply.encoded else _delivered(reply)
            self.counts.resent += 1
            again = True
            connection = None

    async def aclose(self) -> None:
        """Abort every connection and wait, for a bounded time, until the sockets are closed."""
        await self._pools.aclose(CLOSE_LIMIT)
        if self._general is not None:
            await self._general.aclose()

    async def _connect(self, endpoint: Endpoint, timeouts: Timeouts, deadline: float, *, sent: bool) -> Connection:
        until = min(self._time() + timeouts.connect, deadline)
        try:
            async with asyncio.timeout_at(until):
                addresses = await self._addresses(endpoint)
                tls = await self._trust.context(http2=False) if endpoint.scheme == "https" else None
            return await self._first(endpoint, addresses, tls, until)
        except FOREIGN as error:
            if isinstance(error, TimeoutError) and self._time() >= deadline - TICK:
                raise UpstreamFailure(Failure.TOTAL_TIMEOUT, "no connection by the deadline", sent=sent) from error
            raise upstream_failure(error, Phase.CONNECT, sent=sent) from error

    async def _addresses(self, endpoint: Endpoint) -> list[str]:
        """What the host's name stands for, in the system's order (RFC 6724)."""
        if (literal := _literal(endpoint.host)) is not None:
            return [literal]
        found = await self._loop.getaddrinfo(endpoint.host, endpoint.port, type=SOCK_STREAM)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    async def _first(
        self, endpoint: Endpoint, addresses: list[str], tls: ssl.SSLContext | None, until: float
    ) -> Connection:
        """The first address that answers, each having an equal share of the time that is left.

        So a dead IPv6 route costs a share and not the request. asyncio's own race (RFC 8305) leaks the socket of an
        attempt that is cancelled as it succeeds (Python 3.11), and uvloop has none.
        """
        for left in range(len(addresses), 0, -1):
            now = self._time()
            try:
                async with asyncio.timeout_at(now + (until - now) / left):
                    return await self._open(endpoint, addresses[-left], tls)
            except FOREIGN:
                if left == 1:
                    raise
        raise OSError("the name has no address")

    async def _open(self, endpoint: Endpoint, address: str, tls: ssl.SSLContext | None) -> Connection:
        pool = self._pools.by_endpoint.get(endpoint) or self._pools.add(endpoint)
        connection = Connection(self._loop, self._outbox, self._vigil, pool.put, pool.lost)
        pool.open.add(connection)
        name = endpoint.host if tls is not None else None
        try:
            await self._loop.create_connection(
                lambda: connection, address, endpoint.port, ssl=tls, server_hostname=name
            )
        except BaseException:
            connection.abort()
            pool.lost(connection)  # uvloop forgets `connection_lost` where it cancels
            raise
        self.counts.opened += 1
        return connection

    def _general_client(self) -> GeneralClient:
        if self._general is None:
            self._general = GeneralClient(self._trust, self._idle_limit, self.counts)
        return self._general


def _literal(host: str) -> str | None:
    """The address that a host is written as; None where it is a name."""
    try:
        return str(ip_address(host))
    except ValueError:
        return None


def _delivered(reply: HttpReply) -> HttpReply | DecodedReply:
    """The reply, to be decoded where it must. Raises its failure if no head came."""
    if not reply.status:
        reply.close()
        raise reply.error()
    try:
        coding = coding_of(reply.headers)
    except UpstreamFailure:
        reply.close()
        raise
    return reply if coding is None else DecodedReply(reply, coding)
