"""Routes that know who calls, and how long the body is, before they read it: FastAPI reads bodies first."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from app.errors import INVALID_REQUEST, REQUEST_TOO_LARGE, GatewayError


def checked_first(check: Callable[[Request], object], most: int) -> type[APIRoute]:
    """Routes whose requests have passed `check` (it raises `GatewayError`) and have a body of at most `most` bytes."""

    class Checked(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            inner = super().get_route_handler()

            async def handle(request: Request) -> Response:
                check(request)
                if "transfer-encoding" in request.headers:
                    raise GatewayError(INVALID_REQUEST, "A body needs a `content-length` here.")
                if int(request.headers.get("content-length", 0)) > most:
                    raise GatewayError(REQUEST_TOO_LARGE, f"A body may have {most} bytes here.")
                return await inner(request)

            return handle

    return Checked
