"""What comes in with a request of the data plane: its id, its head, its body."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from os import urandom
from time import time
from typing import Any

from app.api.answers import Headers
from app.api.cycle import BODY_FAULT
from app.errors import REQUEST_TOO_LARGE, GatewayError
from app.exchange import NO_WISHES, Wishes
from app.pipeline.progress import LEFT

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_IDS_AT_ONCE = 256


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


async def read_body(scope: Scope, receive: Receive, length: int, limit: int) -> bytes:
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
