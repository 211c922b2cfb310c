"""The general client: httpx2 for endpoints behind a proxy or with HTTP/2, behind the same interface as `http1`.

One exchange per connection at a time, with HTTP/2 too: httpcore2 sends no RST_STREAM for a stream that is left early,
and an upstream that is not told goes on producing tokens. So leaving early closes the connection, which harms no other.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any, Final, Protocol

import httpx2

from app.errors import Failure, UpstreamFailure
from app.exchange import Endpoint, Outbound, Timeouts
from app.providers.encoding import DecodedReply, Tap, coding_of, gather
from app.providers.failures import FOREIGN, Phase, upstream_failure
from app.providers.http1 import TICK
from app.providers.pool import Counts, Pool, Pools
from app.providers.trust import Trust
from app.tasks import TaskGroup

CLOSE_LIMIT: Final = 1.0
"""Seconds that closing one connection may take."""


class AsyncClosable(Protocol):
    """Something to be closed."""

    async def aclose(self) -> None:
        """Close it."""


class Line:
    """An httpx2 transport that holds at most one connection."""

    def __init__(self, client: httpx2.AsyncHTTPTransport, pool: Pool[Line], tasks: TaskGroup) -> None:
        self._tasks = tasks
        self.client = client
        self.pool = pool
        self.stream: AsyncClosable | None = None
        """The connection as httpcore2 knows it, which forgets to close it where a SOCKS proxy refuses."""
        self.idle_since = 0.0
        self.usable = True

    def abort(self) -> None:
        """Close at once, in a task, for httpx2 cannot do it otherwise."""
        if self.usable:
            self.usable = False
            self._tasks.spawn("close", self._close())

    def quiet(self) -> bool:
        """httpcore2 asks the socket itself before it uses a connection again."""
        return True

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_LIMIT):
                await self.client.aclose()
                if self.stream is not None:
                    await self.stream.aclose()
        except FOREIGN:
            pass  # it was to go, and it is gone
        finally:
            self.pool.lost(self)


class Clock:
    """How far a request has come, and when its next timeout strikes."""

    def __init__(self, request: Outbound, timeouts: Timeouts, deadline: float) -> None:
        self._time = asyncio.get_running_loop().time
        self._stream = request.stream
        self._timeouts = timeouts
        self._deadline = deadline
        self._first_by = deadline
        self._limit: asyncio.Timeout | None = None
        self.line: Line | None = None
        self.phase = Phase.CONNECT
        self.begun = False
        """Whether a byte of the body has come."""

    def connecting(self) -> asyncio.Timeout:
        """For the request, up to the response's head; moved on when the request is about to be written."""
        self._limit = asyncio.timeout_at(min(self._time() + self._timeouts.connect, self._deadline))
        return self._limit

    def reading(self) -> asyncio.Timeout:
        """For the next piece of the body."""
        if not self._stream or not self.begun:
            return asyncio.timeout_at(self._first_by)
        return asyncio.timeout_at(min(self._time() + self._timeouts.between_tokens, self._deadline))

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        """httpcore2's `trace` extension. A proxy's CONNECT is still part of connecting."""
        if event.endswith("connect_tcp.complete") and self.line is not None:
            self.line.stream = info["return_value"]
        if event.endswith("send_request_headers.started") and info["request"].method != b"CONNECT":
            self.phase = Phase.HEAD
            if self._stream:
                self._first_by = min(self._time() + self._timeouts.first_token, self._deadline)
            if self._limit is not None:
                self._limit.reschedule(self._first_by)

    def failure(self, error: Exception) -> UpstreamFailure:
        """What an error means now."""
        phase = self.phase
        if isinstance(error, TimeoutError):
            if self._time() >= self._deadline - TICK:
                return UpstreamFailure(Failure.TOTAL_TIMEOUT, "the deadline passed", sent=phase > Phase.CONNECT)
            if phase is Phase.BODY and not self.begun:
                phase = Phase.HEAD
        return upstream_failure(error, phase)


class GeneralReply:
    """A response through httpx2."""

    def __init__(self, response: httpx2.Response, line: Line, clock: Clock) -> None:
        self._response = response
        self._pieces = response.aiter_raw()
        self._line: Line | None = line
        self._clock = clock
        self._complete = False
        self.status = response.status_code
        self.headers: Mapping[str, str] = dict(response.headers.items())

    async def read(self, tap: Tap | None = None) -> bytes:
        """The next piece of the body that `tap` leaves; empty at the end. Raises `UpstreamFailure`."""
        while not self._complete:
            if self._line is None:
                raise UpstreamFailure(Failure.TRUNCATED, "closed by the gateway before the end", sent=True)
            if piece := await self._next():
                self._clock.begun = True
                if tap is None or not tap(piece):
                    return piece
        return b""

    async def read_all(self, limit: int) -> bytes:
        """The whole body. Raises `UpstreamFailure`, also when it is longer than `limit` bytes."""
        return await gather(self, limit)

    def close(self, *, drain: bool = False) -> None:  # noqa: ARG002  # httpx2 gives a stream up or reads it to its end
        """Give the connection back if the body has come to its end, else close it."""
        line = self._line
        if line is not None:
            self._line = None
            if self._complete:
                line.pool.put(line)
            else:
                line.abort()

    async def _next(self) -> bytes:
        try:
            async with self._clock.reading():
                piece = await anext(self._pieces, None)
                if piece is None:
                    await self._response.aclose()
                    self._complete = True
        except FOREIGN as error:
            self.close()
            raise self._clock.failure(error) from error
        except BaseException:
            self.close()
            raise
        return piece or b""


class GeneralClient:
    """Sends requests through httpx2. Belongs to one event loop."""

    def __init__(self, trust: Trust, idle_limit: float, counts: Counts) -> None:
        self._time = asyncio.get_running_loop().time
        self._trust = trust
        self._idle_limit = idle_limit
        self._counts = counts
        self._pools: Pools[Line] = Pools(idle_limit)
        self._tasks = TaskGroup("upstream")

    def connections(self) -> dict[Endpoint, tuple[int, int]]:
        """Per endpoint that has any: connections open, and how many of them idle."""
        return self._pools.counts()

    async def send(
        self, endpoint: Endpoint, request: Outbound, timeouts: Timeouts, deadline: float
    ) -> GeneralReply | DecodedReply:
        """The reply, as soon as its head is here. Raises `UpstreamFailure`."""
        pool = self._pools.by_endpoint.get(endpoint) or self._pools.add(endpoint)
        pool.heads.render(request)  # the same checks
        line = pool.take(self._time())
        if line is not None:
            self._counts.reused += 1
            try:
                return await self._send(line, endpoint, request, timeouts, deadline)
            except UpstreamFailure as error:
                if error.failure is not Failure.CLOSED:
                    raise
            self._counts.resent += 1
        try:
            return await self._send(None, endpoint, request, timeouts, deadline)
        except UpstreamFailure as error:
            error.sent |= line is not None
            raise

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pools.aclose(CLOSE_LIMIT)
        await self._tasks.aclose()

    async def _send(
        self, kept: Line | None, endpoint: Endpoint, request: Outbound, timeouts: Timeouts, deadline: float
    ) -> GeneralReply | DecodedReply:
        clock = Clock(request, timeouts, deadline)
        line = kept
        try:
            async with clock.connecting():
                line = clock.line = kept or await self._line(endpoint)
                response = await line.client.handle_async_request(_httpx(endpoint, request, timeouts, clock))
            clock.phase = Phase.BODY
            reply = GeneralReply(response, line, clock)
            coding = coding_of(reply.headers) if "content-encoding" in reply.headers else None
        except FOREIGN as error:
            if line is not None:
                line.abort()
            raise clock.failure(error) from error
        except BaseException:
            if line is not None:
                line.abort()
            raise
        return reply if coding is None else DecodedReply(reply, coding)

    async def _line(self, endpoint: Endpoint) -> Line:
        encrypted = endpoint.scheme == "https" or (endpoint.proxy or "").startswith("https:")
        tls = await self._trust.context(http2=endpoint.http2) if encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client = httpx2.AsyncHTTPTransport(
            verify=tls,
            trust_env=False,
            http2=endpoint.http2,
            limits=httpx2.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=self._idle_limit),
            proxy=_proxy(endpoint.proxy, tls),
        )
        pool = self._pools.by_endpoint.get(endpoint) or self._pools.add(endpoint)
        line = Line(client, pool, self._tasks)
        pool.open.add(line)
        self._counts.opened += 1
        return line


def _proxy(url: str | None, tls: ssl.SSLContext) -> httpx2.Proxy | None:
    if url is None:
        return None
    return httpx2.Proxy(url, ssl_context=tls if url.startswith("https:") else None)


def _httpx(endpoint: Endpoint, request: Outbound, timeouts: Timeouts, clock: Clock) -> httpx2.Request:
    path = request.path if request.from_root else endpoint.base_path + request.path
    headers = [("host", endpoint.authority), ("accept-encoding", "identity"), *request.headers]
    return httpx2.Request(
        request.method,
        f"{endpoint.scheme}://{endpoint.authority}{path}",
        headers=headers,
        content=request.body or None,
        extensions={"timeout": {"connect": timeouts.connect, "pool": timeouts.connect}, "trace": clock.trace},
    )
