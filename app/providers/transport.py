"""The upstream HTTP client: the one place that opens sockets to upstreams.

`send` writes one request and returns when the response's head is here. HTTP/1.1 goes over connections of our own
(`http1`), kept alive per endpoint; an endpoint with a proxy or HTTP/2 goes through httpx2 (`general`). Either way the
only exception besides cancellation is `UpstreamFailure`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, Final

from app.errors import Failure, UpstreamFailure
from app.exchange import Endpoint, Outbound, Timeouts
from app.providers.encoding import DecodedReply, coding_of
from app.providers.failures import FOREIGN, Phase, upstream_failure
from app.providers.general import GeneralClient, GeneralReply
from app.providers.http1 import Connection, Exchange
from app.providers.pool import Pool, Pools

IDLE_LIMIT: Final = 4.0
"""Seconds. uvicorn, hence vLLM, closes idle connections after 5."""
HAPPY_EYEBALLS_DELAY: Final = 0.25
"""Seconds (RFC 8305, section 5)."""
CLOSE_LIMIT: Final = 1.0
"""Seconds that `aclose` waits for aborted connections."""

Reply = Exchange | DecodedReply | GeneralReply


class HttpTransport:
    """Sends requests to upstreams. Make it inside a running event loop; it belongs to that loop.

    `idle_limit` is in seconds. `make_tls` makes a client context with the trust wanted; by default the system's. It is
    called when the first `https` endpoint is used.
    """

    def __init__(
        self, *, idle_limit: float = IDLE_LIMIT, make_tls: Callable[[], ssl.SSLContext] = ssl.create_default_context
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._make_tls = make_tls
        self._tls: ssl.SSLContext | None = None
        self._pools: Pools[Connection] = Pools(idle_limit)
        self._general: GeneralClient | None = None
        self._idle_limit = idle_limit
        self._options: dict[str, Any] = {}
        if isinstance(self._loop, asyncio.BaseEventLoop):  # uvloop tries the addresses one after the other
            self._options["happy_eyeballs_delay"] = HAPPY_EYEBALLS_DELAY
        self.opened = 0
        """Connections opened so far."""
        self.reused = 0
        """Requests sent on a connection that had served one before."""
        self.resent = 0
        """Requests sent once more because the reused connection turned out to be closed."""

    def connections(self) -> dict[Endpoint, tuple[int, int]]:
        """Per endpoint that has any: connections open or being opened, and how many of them idle."""
        return self._pools.counts() | ({} if self._general is None else self._general.connections())

    async def send(self, endpoint: Endpoint, request: Outbound, timeouts: Timeouts, deadline: float) -> Reply:
        """The reply, as soon as its head is here; `deadline` is loop time. Raises `UpstreamFailure`.

        The caller closes the reply, always. A request on a reused connection that closes before any byte of a response
        is sent once more, on a fresh one.
        """
        if endpoint.proxy is not None or endpoint.http2:
            return await self._general_client().send(endpoint, request, timeouts, deadline)
        pool = self._pools[endpoint]
        head = pool.heads.render(request)
        now = self._time()
        if deadline <= now:
            raise UpstreamFailure(Failure.TOTAL_TIMEOUT, "the deadline passed before the request was sent", sent=False)
        connection = pool.take(now)
        if connection is not None:
            self.reused += 1
            exchange = await self._exchange(connection, head, request, timeouts, deadline, now)
            if exchange.status or exchange.touched or (exchange.failure or ("",))[0] is not Failure.CLOSED:
                return _delivered(exchange)
            self.resent += 1
        fresh = await self._connect(endpoint, timeouts, deadline, sent=connection is not None)
        return _delivered(await self._exchange(fresh, head, request, timeouts, deadline, self._time()))

    async def aclose(self) -> None:
        """Abort every connection and wait, for a bounded time, until the sockets are closed."""
        await self._pools.aclose(CLOSE_LIMIT)
        if self._general is not None:
            await self._general.aclose()

    async def _exchange(
        self, connection: Connection, head: bytes, request: Outbound, timeouts: Timeouts, deadline: float, now: float
    ) -> Exchange:
        """Send the request; returns when the head is here or the exchange has failed."""
        exchange = Exchange(timeouts, deadline, now, stream=request.stream, head_only=request.method == "HEAD")
        connection.start(exchange, head, request.body)
        try:
            while not exchange.status and exchange.failure is None:
                await connection.wait()
        except BaseException:
            exchange.close()
            raise
        return exchange

    async def _connect(self, endpoint: Endpoint, timeouts: Timeouts, deadline: float, *, sent: bool) -> Connection:
        pool = self._pools[endpoint]
        due = min(self._time() + timeouts.connect, deadline)
        tls = self._tls_context() if endpoint.scheme == "https" else None
        connection = Connection(self._loop, pool.put, pool.lost)
        pool.open.add(connection)
        try:
            async with asyncio.timeout_at(due):
                await self._loop.create_connection(
                    lambda: connection,
                    endpoint.host,
                    endpoint.port,
                    ssl=tls,
                    server_hostname=endpoint.host if tls is not None else None,
                    **self._options,
                )
        except FOREIGN as error:
            self._give_up(pool, connection)
            if isinstance(error, TimeoutError) and self._time() >= deadline:
                raise UpstreamFailure(Failure.TOTAL_TIMEOUT, "no connection by the deadline", sent=sent) from error
            raise upstream_failure(error, Phase.CONNECT, sent=sent) from error
        except BaseException:
            self._give_up(pool, connection)
            raise
        self.opened += 1
        return connection

    def _give_up(self, pool: Pool[Connection], connection: Connection) -> None:
        connection.abort()
        if connection.transport is None:
            pool.lost(connection)

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = self._make_tls()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    def _general_client(self) -> GeneralClient:
        if self._general is None:
            self._general = GeneralClient(self._make_tls, self._idle_limit)
        return self._general


def _delivered(exchange: Exchange) -> Exchange | DecodedReply:
    """The exchange as the reply it is, decoded if it must be. Raises its failure if no head came."""
    if not exchange.status:
        exchange.close()
        raise exchange.error()
    if "content-encoding" not in exchange.headers:
        return exchange
    try:
        coding = coding_of(exchange.headers)
    except UpstreamFailure:
        exchange.close()
        raise
    return exchange if coding is None else DecodedReply(exchange, coding)
