"""Sends spans to an OpenTelemetry collector, OTLP over HTTP: off the request path, in batches, through a bounded queue.

Nothing waits for a collector. While it is down or hangs, spans gather up to `MOST_QUEUED`; what comes over is dropped
and counted. What the protocol says may be tried again is (429, 502, 503, 504, no answer), after growing pauses; what
the collector refuses is dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from urllib.parse import urlsplit

from app.cells import Counter, Gauge
from app.errors import UpstreamFailure
from app.exchange import Endpoint, Outbound, Timeouts
from app.otlp import Span, encode, rejected, request, resource
from app.pipeline.call import Transport
from app.semconv import Value
from app.table import endpoint_of

_log = logging.getLogger("sluicegate")

MOST_QUEUED = 4096
BATCH = 512
EVERY = 1.0
"""Seconds between batches that are not full."""
TURN = 16
"""Spans encoded before requests get their turn: 0.25 ms."""
LONGEST_PAUSE = 30.0
FAREWELL = 2.0
"""Seconds that the last spans may take at shutdown."""
TIMEOUTS = Timeouts(connect=2.0, first_token=10.0, between_tokens=10.0, total=10.0)
_AGAIN = frozenset({429, 502, 503, 504})
_MOST_ANSWER = 64 * 1024
_TRACES = "/v1/traces"


class Collector:
    """The queue before one collector. `url` is its base address, or that of `/v1/traces` itself."""

    def __init__(
        self,
        transport: Transport,
        url: str,
        headers: Iterable[tuple[str, str]],
        who: Iterable[tuple[str, Value]],
        counts: tuple[Counter, Counter, Gauge],
    ) -> None:
        self._transport = transport
        parts = urlsplit(url.removesuffix(_TRACES))
        self._endpoint: Endpoint = endpoint_of(parts.geturl())
        self._headers = (("content-type", "application/x-protobuf"), *headers)
        self._resource = resource(who)
        self._sent, self._dropped, self._length = counts
        self._queue: deque[Span] = deque()
        self._full = asyncio.Event()
        self._failing = False

    def submit(self, spans: list[Span]) -> None:
        """Queue the spans of one request, whole or not at all."""
        queue = self._queue
        if len(queue) + len(spans) > MOST_QUEUED:
            self._dropped.inc(len(spans))
            return
        queue.extend(spans)
        self._length.set(len(queue))
        if len(queue) >= BATCH:
            self._full.set()

    async def run(self) -> None:
        """Send what gathers, until cancelled."""
        pause = 0.0
        while True:
            if pause:
                await asyncio.sleep(pause)
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._full.wait(), EVERY)
            self._full.clear()
            pause = await self._send_all(pause)

    async def aclose(self) -> None:
        """Send the rest, once, within `FAREWELL` seconds; what cannot be sent is counted as dropped."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                await self._send_all(0.0)
        self._dropped.inc(len(self._queue))
        self._queue.clear()
        self._length.set(0)

    async def _send_all(self, pause: float) -> float:
        """Send batches until the queue is empty or one fails; the pause that is due then, else 0."""
        while self._queue:
            batch = list(islice(self._queue, BATCH))
            again = await self._send(batch)
            if again is not None:
                return min(max(again, pause * 2, 1.0), LONGEST_PAUSE)
            for _ in batch:
                self._queue.popleft()
            self._length.set(len(self._queue))
        return 0.0

    async def _send(self, batch: list[Span]) -> float | None:
        """Send a batch. None when that is settled, else the seconds after which it may be tried again."""
        encoded = []
        for number, span in enumerate(batch, 1):
            encoded.append(encode(span))
            if number % TURN == 0:
                await asyncio.sleep(0)
        outbound = Outbound("POST", _TRACES, self._headers, request(self._resource, encoded), stream=False)
        try:
            status, after, answer = await self._post(outbound)
        except UpstreamFailure as failure:
            self._tell(failure.detail)
            return 0.0
        if status in _AGAIN:
            self._tell(f"status {status}")
            return after
        if not 200 <= status < 300:
            self._tell(f"status {status}")
            self._dropped.inc(len(batch))
            return None
        refused = min(rejected(answer), len(batch))
        self._dropped.inc(refused)
        self._sent.inc(len(batch) - refused)
        self._tell("")
        return None

    async def _post(self, outbound: Outbound) -> tuple[int, float, bytes]:
        """Status, `retry-after` in seconds (0 where none is said) and body. Raises `UpstreamFailure`."""
        deadline = asyncio.get_running_loop().time() + TIMEOUTS.total
        reply = await self._transport.send(self._endpoint, outbound, TIMEOUTS, deadline)
        try:
            answer = await reply.read_all(_MOST_ANSWER)
        finally:
            reply.close()
        after = reply.headers.get("retry-after", "")
        return reply.status, float(after) if after.isdecimal() else 0.0, answer

    def _tell(self, trouble: str) -> None:
        """Say once that spans cannot be sent, and once that they can again."""
        if bool(trouble) is not self._failing:
            self._failing = bool(trouble)
            if trouble:
                _log.warning("spans cannot be sent", extra={"detail": trouble})
            else:
                _log.info("spans are sent again")
