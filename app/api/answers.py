"""Answers as ASGI messages: JSON documents, errors, and the head and pieces of an event stream."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from app.errors import GatewayError
from app.exchange import Batch, JsonObject

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

DONE = b"data: [DONE]\n\n"
STREAM_HEAD: Headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


async def send_json(send: Send, status: int, body: bytes, headers: Headers) -> None:
    """A whole JSON answer."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, error: GatewayError, headers: Headers, document: JsonObject | None = None) -> None:
    """An error in OpenAI's shape unless `document` gives another; `retry-after` in whole seconds, rounded up."""
    if error.retry_after is not None:
        headers = [*headers, (b"retry-after", b"%d" % math.ceil(error.retry_after))]
    await send_json(send, error.status, orjson.dumps(error.document() if document is None else document), headers)


async def start_stream(send: Send, headers: Headers) -> None:
    """The head of an event stream."""
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [*STREAM_HEAD, *headers],
        }
    )


def events(batch: Batch) -> bytes:
    """A batch as server-sent events; empty when all of it is hidden from the caller."""
    if len(batch) == 1:
        event = batch[0]
        return b"" if event.hidden else b"data: %b\n\n" % event.data
    return b"".join([b"data: %b\n\n" % event.data for event in batch if not event.hidden])


def error_event(error: GatewayError) -> bytes:
    """An error inside a stream that has begun: the OpenAI SDK raises it as `APIError`."""
    return b"data: %b\n\n" % orjson.dumps(error.document())
