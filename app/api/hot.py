"""The data plane as bare ASGI: the handler behind every `POST /v1/...` that reaches a model.

FastAPI's routing, dependencies and responses cost 79 µs where this costs 8, read a stranger's body before they
authenticate, and never close a generator (`docs/decisions/0002-hot-path.md`). What is served here is documented by
`api/openapi.py`, and a test holds the two equal.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, MutableMapping, Sequence
from contextlib import suppress
from functools import lru_cache
from math import ceil
from os import urandom
from time import time
from typing import Any, Final

from app.api.answers import Headers, Send, send_error, send_json, start_stream
from app.api.cycle import BODY_FAULT, OUTLET, Cycle
from app.api.messages.surface import MessagesSurface
from app.api.responses.surface import ResponsesSurface
from app.api.surface import OpenAISurface, Surface, Writer
from app.errors import INTERNAL_ERROR, METHOD_NOT_ALLOWED, OVERLOADED, REQUEST_TOO_LARGE, GatewayError
from app.exchange import NO_WISHES, Batch, Operation, Wishes
from app.metering import Limit, Measure
from app.pipeline.ledger import JournalFailed
from app.pipeline.progress import LEFT, Progress
from app.pipeline.serve import Arrival, Services, serve

_log = logging.getLogger("sluicegate")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

OPERATIONS: dict[str, Operation] = {
    "/v1/chat/completions": Operation.CHAT,
    "/v1/completions": Operation.COMPLETION,
    "/v1/embeddings": Operation.EMBEDDINGS,
    "/v1/messages": Operation.CHAT,
    "/v1/messages/count_tokens": Operation.TOKENIZE,
    "/v1/responses": Operation.CHAT,
    "/v1/rerank": Operation.RERANK,
    "/v1/score": Operation.SCORE,
    "/tokenize": Operation.TOKENIZE,
}
"""The hot dispatch table: path to operation."""
_IDS_AT_ONCE = 256

OPENAI: Final[Surface] = OpenAISurface()
_MESSAGES: Final = MessagesSurface()
SURFACES: dict[str, Surface] = {
    "/v1/messages": _MESSAGES,
    "/v1/messages/count_tokens": _MESSAGES,
    "/v1/responses": ResponsesSurface(),
}
"""The paths that are not spoken in OpenAI's shape."""


class Hot:
    """Serves the data plane."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._ids = new_ids()

    async def __call__(self, operation: Operation, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens to it."""
        surface = SURFACES.get(scope["path"], OPENAI)
        progress = Progress(next(self._ids), operation)
        if scope["method"] != "POST":
            error = GatewayError(METHOD_NOT_ALLOWED, f"Use POST for {scope['path']}.")
            headers = [(b"allow", b"POST"), (b"x-request-id", progress.request_id.encode())]
            await send_error(send, error, headers, surface.document(error, progress.request_id))
            return
        headers = scope["headers"]
        credentials, length, wishes = read_head(headers)
        progress.trace = self._services.tracer.begin(progress.request_id, scope["path"], headers)

        async def read_body(limit: int) -> bytes:
            return await _read_body(scope, receive, length, limit)

        outlet = scope.get(OUTLET) if surface is OPENAI else None
        arrival = Arrival(credentials, read_body, wishes, outlet, surface.understand)
        try:
            flow = serve(arrival, progress, self._services)
            try:
                await _relay(flow, progress, surface, send, scope.get(OUTLET))
            except asyncio.CancelledError as cancellation:
                progress.cut(cancellation)
                raise
            finally:
                await flow.aclose()  # what `aclosing` does in twice the time
        except asyncio.CancelledError:
            if progress.shut_down:
                await _say_goodbye(progress, surface, send)


def new_id() -> str:
    """A request's id: the second in which it was made, and 96 random bits, in hexadecimal."""
    return f"req_{int(time()):08x}{urandom(12).hex()}"


def new_ids() -> Iterator[str]:
    """Ids, of many requests for each time that the kernel is asked for randomness: that takes a system call.

    They begin with the time, if not to the second: so a database adds them at the end of its index, and not anywhere.
    """
    while True:
        began = f"req_{int(time()):08x}"
        pool = urandom(12 * _IDS_AT_ONCE).hex()
        for at in range(0, len(pool), 24):
            yield began + pool[at : at + 24]


def read_headers(headers: Headers) -> tuple[tuple[bytes, ...], int]:
    """The credentials that the request shows, without their scheme, and the body's stated length (-1 when unknown)."""
    return read_head(headers)[:2]


def read_head(headers: Headers) -> tuple[tuple[bytes, ...], int, Wishes]:
    """The same, and what the request asks of the routing. A wish that is sent twice is the last one."""
    credentials: tuple[bytes, ...] = ()
    length = -1
    wishes = NO_WISHES
    for name, value in headers:
        if name == b"authorization":
            credentials += (value[7:].strip() if value[:7].lower() == b"bearer " else value,)
        elif name in (b"x-api-key", b"api-key"):
            credentials += (value,)
        elif name == b"content-length":
            length = int(value)
        elif name == b"x-sluicegate-affinity":
            wishes = wishes._replace(affinity=value.decode("latin-1"))
        elif name == b"x-sluicegate-pin":
            wishes = wishes._replace(pin=value.decode("latin-1"))
    return credentials, length, wishes


async def _read_body(scope: Scope, receive: Receive, length: int, limit: int) -> bytes:
    """The whole body: refused unread when its stated length is over the limit, else as soon as it grows over it."""
    pieces: list[bytes] = []
    size = 0
    more = length <= limit
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise scope.get(BODY_FAULT) or asyncio.CancelledError(LEFT)
        body: bytes = message["body"]
        more = message.get("more_body", False)
        if not more and not pieces and len(body) <= limit:
            return body
        pieces.append(body)
        size += len(body)
        if size > limit:
            break
    else:
        if length <= limit:
            return b"".join(pieces)
    raise GatewayError(
        REQUEST_TOO_LARGE, f"The body is larger than {limit} bytes, the most that is taken here.", param=None
    )


async def _relay(
    flow: AsyncGenerator[Batch, None], progress: Progress, surface: Surface, send: Send, cycle: Cycle | None
) -> None:
    """Send what the path yields; an error before its first batch is a status, after it an event of the stream.

    An answer's last byte leaves once the path has ended: by then the request is settled and in the ledger.
    """
    writer = surface.writer(progress)
    body = b""
    try:
        batch = await anext(flow)
        streamed = progress.call is not None and progress.call.stream
        if not streamed:
            body = writer.whole(batch[0])
        progress.status = 200
        if not streamed and await anext(flow, None) is not None:
            raise AssertionError("an answer that is not streamed has one event")  # noqa: TRY301 # a bug: it is logged below
    except GatewayError as error:
        if progress.error is None:
            await _tell(flow, error)
        await _refuse(send, error, progress, surface)
        return
    except Exception:
        _log.exception("a request failed inside the gateway", extra={"request_id": progress.request_id})
        await _refuse(send, GatewayError(INTERNAL_ERROR, INTERNAL_ERROR.meaning), progress, surface)
        return
    if streamed:
        await _stream(flow, batch, progress, writer, send)
        return
    await _written(progress)
    if cycle is None or cycle.full:
        await send_json(send, 200, body, _headers(progress))
    else:
        cycle.answer(b"content-type: application/json\r\n" + _lines(progress), body)


async def _written(progress: Progress) -> None:
    """Wait for the disk where the ledger does (`stores.spool_fsync: always`).

    A disk that fails then costs no answer: the request is settled at its bound, and the next one is refused.
    """
    if progress.durable is not None:
        with suppress(JournalFailed):
            await progress.durable


async def _tell(flow: AsyncGenerator[Batch, None], error: GatewayError) -> None:
    """An answer that its surface cannot tell is an error of the request: the path hears of it, and settles."""
    with suppress(GatewayError):
        await flow.athrow(error)


async def _refuse(send: Send, error: GatewayError, progress: Progress, surface: Surface) -> None:
    await send_error(send, error, _headers(progress), surface.document(error, progress.request_id))


async def _say_goodbye(progress: Progress, surface: Surface, send: Send) -> None:
    """The gateway is shutting down, and this request took longer than it may."""
    error = GatewayError(OVERLOADED, "The gateway is shutting down.", retry_after=1.0)
    if not progress.status:
        await _refuse(send, error, progress, surface)
    elif progress.call is not None and progress.call.stream:
        await send({"type": "http.response.body", "body": surface.writer(progress).end(error)})


async def _stream(
    flow: AsyncGenerator[Batch, None], batch: Batch, progress: Progress, writer: Writer, send: Send
) -> None:
    await start_stream(send, _headers(progress))
    try:
        await send({"type": "http.response.body", "body": writer.events(batch), "more_body": True})
        progress.sent()
        progress.first_at = progress.last_at
        async for more in flow:
            body = writer.events(more)
            if body:
                await send({"type": "http.response.body", "body": body, "more_body": True})
                progress.sent()
        last = writer.end(None)
    except GatewayError as error:
        if progress.error is None:
            await _tell(flow, error)
        last = writer.end(error)
    except Exception:
        _log.exception("a stream failed inside the gateway", extra={"request_id": progress.request_id})
        last = writer.end(GatewayError(INTERNAL_ERROR, INTERNAL_ERROR.meaning))
    await _written(progress)
    await send({"type": "http.response.body", "body": last})


def _headers(progress: Progress) -> Headers:
    """What every answer of the data plane says about itself; `server-timing` is the gateway's time so far, in ms."""
    headers = [
        (b"x-request-id", progress.request_id.encode()),
        (b"server-timing", b"gateway;dur=%.3f" % (sum(progress.own) * 1000)),
    ]
    if progress.deployment is not None and progress.arm is not None:
        headers += _served_by(progress.deployment.name, progress.arm)
    if progress.fitted is not None:
        headers.append((b"x-sluicegate-fit", progress.fitted.encode()))
    if progress.rates or progress.clamped:
        headers += _limits(progress)
    return headers


def _limits(progress: Progress) -> Headers:
    """What is left of the rates, and whether a budget lowered the cap."""
    headers = rate_headers(progress.rates)
    if progress.clamped:
        headers.append((b"x-sluicegate-budget", b"clamp; max_tokens=%d" % progress.clamped))
    return headers


def rate_headers(rates: Iterable[tuple[tuple[Limit, ...], Sequence[int]]]) -> Headers:
    """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}` as OpenAI writes them; `reset`: until all is back."""
    headers: Headers = []
    for limits, left in rates:
        for limit, rest in zip(limits, left, strict=True):
            if limit.measure is Measure.CONCURRENT:
                continue
            most, remaining, reset = _RATES[limit.measure]
            count = limit.limit
            headers.append((most, b"%d" % count))
            headers.append((remaining, b"%d" % max(rest, 0)))
            headers.append((reset, duration((count - max(rest, 0)) * limit.interval if count else 0.0)))
    return headers


_RATES = {
    measure: tuple(f"x-ratelimit-{what}-{measure}".encode() for what in ("limit", "remaining", "reset"))
    for measure in (Measure.REQUESTS, Measure.TOKENS)
}


def duration(seconds: float) -> bytes:
    """As Go writes one, and OpenAI with it: 6m0s, 1.5s, 17ms."""
    if seconds < 1:
        return b"%dms" % ceil(seconds * 1000)
    if seconds < 60:
        return f"{ceil(seconds * 1000) / 1000:g}s".encode()
    minutes, rest = divmod(ceil(seconds), 60)
    return b"%dm%ds" % (minutes, rest)


def _lines(progress: Progress) -> bytes:
    """The same as lines of a head."""
    timing = b"server-timing: gateway;dur=%.3f\r\n" % (sum(progress.own) * 1000)
    lines = b"x-request-id: %b\r\n%b" % (progress.request_id.encode(), timing)
    if progress.deployment is not None and progress.arm is not None:
        lines += _served_by_lines(progress.deployment.name, progress.arm)
    if progress.fitted is not None:
        lines += b"x-sluicegate-fit: %b\r\n" % progress.fitted.encode()
    if progress.rates or progress.clamped:
        lines += b"".join([b"%b: %b\r\n" % header for header in _limits(progress)])
    return lines


@lru_cache(maxsize=4096)
def _served_by_lines(deployment: str, arm: str) -> bytes:
    return b"".join(b"%b: %b\r\n" % one for one in _served_by(deployment, arm))


@lru_cache(maxsize=4096)
def _served_by(deployment: str, arm: str) -> Headers:
    return [(b"x-sluicegate-deployment", deployment.encode()), (b"x-sluicegate-arm", arm.encode())]
