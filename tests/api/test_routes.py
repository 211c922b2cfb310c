"""Routes that know who calls, and how long the body is, before they read it."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Request

from app.api.routes import checked_first
from app.errors import INVALID_REQUEST, PERMISSION_DENIED, REQUEST_TOO_LARGE, Code, GatewayError


def friends(request: Request) -> None:
    """Nobody else."""
    if request.headers.get("who") != "friend":
        raise GatewayError(PERMISSION_DENIED, "no")


async def read(headers: dict[str, str], body: bytes) -> int:
    """How often the body was read. Raises what the route raises."""
    router, app, times = APIRouter(route_class=checked_first(friends, 10)), FastAPI(), 0

    @router.post("/")
    async def size(said: dict[str, Any]) -> None:
        assert said == {"a": 1}

    async def receive() -> MutableMapping[str, Any]:
        nonlocal times
        times += 1
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(_: MutableMapping[str, Any]) -> None:
        """Nobody listens."""

    app.include_router(router)
    lines = [(name.encode(), value.encode()) for name, value in headers.items()]
    await app({"type": "http", "method": "POST", "path": "/", "headers": lines, "query_string": b""}, receive, send)
    return times


async def test_what_passes_is_read() -> None:
    """Once."""
    headers = {"who": "friend", "content-type": "application/json", "content-length": "7"}
    assert await read(headers, b'{"a":1}') == 1


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"who": "stranger", "content-length": "7"}, PERMISSION_DENIED),
        ({"who": "friend", "content-length": "11"}, REQUEST_TOO_LARGE),
        ({"who": "friend", "transfer-encoding": "chunked"}, INVALID_REQUEST),
    ],
)
async def test_what_does_not_pass_is_refused_unread(headers: dict[str, str], code: Code) -> None:
    """A stranger's body first of all."""
    with pytest.raises(GatewayError) as refused:
        await read(headers, b'{"a":1}')
    assert refused.value.code is code
