"""What comes in with a request: ids, what a head shows, bodies within their bound."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, MutableMapping
from itertools import islice
from typing import Any

import pytest

from app.api.arrivals import Receive, new_id, new_ids, read_body, read_head, read_headers
from app.api.cycle import BODY_FAULT
from app.errors import INVALID_REQUEST, GatewayError
from app.exchange import Wishes


def test_ids_are_not_given_twice() -> None:
    """Also where the randomness of one time is used up."""
    ids = list(islice(new_ids(), 1000))
    assert len(set(ids)) == 1000
    assert all(re.fullmatch(r"req_[0-9a-f]{32}", one) for one in ids)


def test_an_id_begins_with_the_time() -> None:
    """So that a database finds new ones at the end of its index."""
    first, second = new_id(), new_id()
    assert first[:10] == second[:10]
    assert first != second


def test_a_head_shows_credentials_a_length_and_wishes() -> None:
    """With and without a scheme, in either header; a wish that is sent twice is the last one."""
    head = [
        (b"authorization", b"Bearer sk-1"),
        (b"x-api-key", b"sk-2"),
        (b"content-length", b"17"),
        (b"x-sluicegate-affinity", b"a"),
        (b"x-sluicegate-affinity", b"b"),
        (b"x-sluicegate-pin", b"canary"),
    ]
    assert read_head(head) == ((b"sk-1", b"sk-2"), 17, Wishes("b", "canary"))
    assert read_headers([(b"authorization", b"sk-3")]) == ((b"sk-3",), -1)


def pieces(*bodies: bytes) -> Receive:
    """An ASGI server's `receive`: these pieces, and then the caller has gone."""
    messages = iter(
        [
            *({"type": "http.request", "body": body, "more_body": True} for body in bodies[:-1]),
            *({"type": "http.request", "body": body, "more_body": False} for body in bodies[-1:]),
        ]
    )

    async def receive() -> MutableMapping[str, Any]:
        return next(messages, {"type": "http.disconnect"})

    return receive


@pytest.mark.parametrize("bodies", [[b"12345678"], [b"1234", b"5678"], [b"", b"1234", b"5678", b""]])
async def test_a_body_within_its_bound(bodies: Iterable[bytes]) -> None:
    """However it is cut."""
    assert await read_body({}, pieces(*bodies), -1, 8) == b"12345678"


@pytest.mark.parametrize(("length", "bodies"), [(9, []), (-1, [b"123456789"]), (-1, [b"12345", b"6789", b"0"])])
async def test_a_body_beyond_its_bound(length: int, bodies: Iterable[bytes]) -> None:
    """Refused unread where its length says so, else as soon as it is longer."""
    with pytest.raises(GatewayError, match="larger than 8 bytes") as refusal:
        await read_body({}, pieces(*bodies), length, 8)
    assert refusal.value.status == 413


async def test_a_caller_who_leaves_in_a_body() -> None:
    """The request is cancelled; or it is what the connection says is wrong with the body."""
    with pytest.raises(asyncio.CancelledError):
        await read_body({}, pieces(), -1, 8)
    with pytest.raises(GatewayError, match="late"):
        await read_body({BODY_FAULT: GatewayError(INVALID_REQUEST, "late")}, pieces(), -1, 8)
