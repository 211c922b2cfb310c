"""The general client: httpx2 for endpoints behind a proxy or with HTTP/2, behind the same interface as `http1`.

One exchange per connection at a time, with HTTP/2 too: httpcore2 sends no RST_STREAM for a stream that is left early,
and an upstream that is not told goes on producing tokens. So leaving early closes the connection, which harms no other.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, Final

import httpx2

from app.errors import Failure, UpstreamFailure
from app.exchange import Endpoint, Outbound, Timeouts
from app.providers.encoding import DecodedReply, coding_of, gather
from app.providers.failures import FOREIGN, Phase, upstream_failure
from app.providers.pool import Pool, Pools
from app.tasks import TaskGroup

CLOSE_LIMIT: Final = 1.0
"""Seconds that closing one connection may take."""


class Line:
    """An httpx2 transport that holds at most one connection."""

    def __init__(self, client: httpx2.AsyncHTTPTransport, pool: Pool[Line], tasks: TaskGroup) -> None:
        self._tasks = tasks
        self.client = client
        self.pool = pool
        self.idle_since = 0.0
        self.usable = True

    def abort(self) -> None:
        """Close at once, in a task, for httpx2 cannot do it otherwise."""
        if self.usable:
            self.usable = False
            self._tasks.spawn("close", self._close())

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_LIMIT):
                await self.client.aclose()
        except FOREIGN:
            pass  # it was to go, and it is gone
        finally:
            self.pool.lost(self)


class Clock:
    """Watches how far a request has come, and when its next timeout strikes."""

    def __init__(self, request: Outbound, timeouts: Timeouts, deadline: float) -> None:
        self._time = asyncio.get_running_loop().time
        self._stream = request.stream
        self._timeouts = timeouts
        self._limit: asyncio.Timeout | None = None
        self._deadline = deadline
        self.phase = Phase.CONNECT

    def limit(self, patience: float) -> asyncio.Timeout:
        """A timeout for the next wait: `patience` seconds, and not beyond the deadline."""
        self._limit = asyncio.timeout_at(min(self._time() + patience, self._deadline))
        return self._limit

    def connecting(self) -> asyncio.Timeout:
        """For the request, up to the response's head; moved on when the request is about to be written."""
        return self.limit(self._timeouts.connect)

    def reading(self) -> asyncio.Timeout:
        """For the next piece of the body."""
        if not self._stream:
            return asyncio.timeout_at(self._deadline)
        return self.limit(self._timeouts.first_token if self.phase is Phase.HEAD else self._timeouts.between_tokens)

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        """httpcore2's `trace` extension. A proxy's CONNECT is still part of connecting."""
        if event.endswith("send_request_headers.started") and info["request"].method != b"CONNECT":
            self.phase = Phase.HEAD
            if self._limit is not None:
                first = self._time() + self._timeouts.first_token
                self._limit.reschedule(min(first, self._deadline) if self._stream else self._deadline)

    def failure(self, error: Exception) -> UpstreamFailure:
        """What an error means now."""
        if isinstance(error, TimeoutError) and self._time() >= self._deadline:
            return UpstreamFailure(Failure.TOTAL_TIMEOUT, "the deadline passed", sent=self.phase > Phase.CONNECT)
        return upstream_failure(error, self.phase)


class GeneralReply:
    """A response through httpx2."""

    def __init__(self, response: httpx2.Response, line: Line, clock: Clock) -> None:
        self._response = response
        self._pieces = response.aiter_raw()
        self._line: Line | None = line
        self._clock = clock
        self._complete = False
        self.status = response.status_code
        self.headers: dict[str, str] = {}
        for name, value in response.headers.items():
            self.headers[name] = value

    async def read(self) -> bytes:
        """The next piece of the body; empty at the end. Raises `UpstreamFailure`."""
        while not self._complete:
            if self._line is None:
                raise UpstreamFailure(Failure.TRUNCATED, "closed by the gateway before the end", sent=True)
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
            if piece:
                self._clock.phase = Phase.BODY
                return piece
        return b""

    async def read_all(self, limit: int) -> bytes:
        """The whole body. Raises `UpstreamFailure`, also when it is longer than `limit` bytes."""
        return await gather(self, limit)

    def close(self) -> None:
        """Give the connection back if the body has come to its end, else close it."""
        line = self._line
        if line is not None:
            self._line = None
            if self._complete:
                line.pool.put(line)
            else:
                line.abort()


class GeneralClient:
    """Sends requests through httpx2. Belongs to one event loop."""

    def __init__(self, make_tls: Callable[[], ssl.SSLContext], idle_limit: float) -> None:
        self._tls = {False: make_tls(), True: make_tls()}  # httpcore2 sets ALPN on the context that it is given
        self._idle_limit = idle_limit
        self._pools: Pools[Line] = Pools(idle_limit)
        self._tasks = TaskGroup("upstream")

    def connections(self) -> dict[Endpoint, tuple[int, int]]:
        """Per endpoint: connections open, and how many of them idle."""
        return self._pools.counts()

    async def send(
        self, endpoint: Endpoint, request: Outbound, timeouts: Timeouts, deadline: float
    ) -> GeneralReply | DecodedReply:
        """The reply, as soon as its head is here. Raises `UpstreamFailure`."""
        pool = self._pools[endpoint]
        pool.heads.render(request)  # the same checks
        line = pool.take(asyncio.get_running_loop().time()) or self._line(pool)
        clock = Clock(request, timeouts, deadline)
        try:
            async with clock.connecting():
                response = await line.client.handle_async_request(self._request(endpoint, request, timeouts, clock))
            reply = GeneralReply(response, line, clock)
            coding = coding_of(reply.headers) if "content-encoding" in reply.headers else None
        except FOREIGN as error:
            line.abort()
            raise clock.failure(error) from error
        except BaseException:
            line.abort()
            raise
        return reply if coding is None else DecodedReply(reply, coding)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pools.aclose(CLOSE_LIMIT)
        await self._tasks.aclose()

    def _line(self, pool: Pool[Line]) -> Line:
        endpoint = pool.endpoint
        client = httpx2.AsyncHTTPTransport(
            verify=self._tls[endpoint.http2],
            trust_env=False,
            http2=endpoint.http2,
            limits=httpx2.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=self._idle_limit),
            proxy=endpoint.proxy,
        )
        line = Line(client, pool, self._tasks)
        pool.open.add(line)
        return line

    def _request(self, endpoint: Endpoint, request: Outbound, timeouts: Timeouts, clock: Clock) -> httpx2.Request:
        path = request.path if request.from_root else endpoint.base_path + request.path
        headers = [("host", endpoint.authority), ("accept-encoding", "identity"), *request.headers]
        return httpx2.Request(
            request.method,
            f"{endpoint.scheme}://{endpoint.authority}{path}",
            headers=headers,
            content=request.body or None,
            extensions={"timeout": {"connect": timeouts.connect, "pool": timeouts.connect}, "trace": clock.trace},
        )
