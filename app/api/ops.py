"""What operators ask: metrics, the API's page, and the running configuration."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from time import perf_counter

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from fastapi.routing import APIRoute

from app.api.arrivals import read_headers
from app.api.routes import checked_first
from app.api.schemas import ERRORS
from app.cells import Series
from app.errors import INVALID_API_KEY, PERMISSION_DENIED, GatewayError
from app.exchange import JsonObject
from app.exposition import negotiate, render
from app.table import Admin, State

_audit = logging.getLogger("sluicegate.audit")
TURN = 0.001
"""Seconds that a scrape keeps the event loop at a time."""
_MOST_BODY = 64 * 1024

Read = Callable[[], Iterable[tuple[Series, tuple[float, ...]]]]
Reload = Callable[[], Awaitable[JsonObject]]


class Operators:
    """Checks operators' credentials against the running table."""

    def __init__(self, state: State) -> None:
        self._state = state

    def viewer(self, request: Request) -> Admin:
        """Whoever may read. Raises `GatewayError` `invalid_api_key`."""
        credentials, _ = read_headers(request.scope["headers"])
        admin = self._state.table.admin(credentials[0]) if credentials else None
        if admin is None:
            raise GatewayError(INVALID_API_KEY, "This needs an admin key (`admin.keys` in the configuration).")
        return admin

    def admin(self, request: Request) -> Admin:
        """Whoever may change things. Raises `GatewayError` also for viewers."""
        admin = self.viewer(request)
        if admin.role != "admin":
            raise GatewayError(PERMISSION_DENIED, f"The key `{admin.name}` may look, not change.")
        return admin


def guarded(operators: Operators) -> type[APIRoute]:
    """Routes for operators: viewers may look, admins may change."""

    def check(request: Request) -> None:
        (operators.viewer if request.method == "GET" else operators.admin)(request)

    return checked_first(check, _MOST_BODY)


def metrics(read: Read, guard: Callable[[Request], Admin] | None) -> APIRouter:
    """`GET /metrics`. `guard` is given where strangers could reach it."""
    guards = [Depends(guard)] if guard is not None else []
    router = APIRouter(tags=["operators"], dependencies=guards, responses=ERRORS)

    @router.get("/metrics", summary="Prometheus metrics of all workers", response_class=Response)
    async def scrape(request: Request) -> Response:
        form = negotiate(request.headers.get("accept", ""))
        return StreamingResponse(in_turns(render(read(), form)), headers={"content-type": form.content_type})

    return router


async def in_turns(pieces: Iterator[str]) -> AsyncIterator[str]:
    """The exposition in small pieces, between which requests get their turn."""
    held: list[str] = []
    until = perf_counter() + TURN
    for piece in pieces:
        held.append(piece)
        if perf_counter() >= until:
            if text := "".join(held):
                yield text
            held.clear()
            await asyncio.sleep(0)
            until = perf_counter() + TURN
    yield "".join(held)


def config_admin(operators: Operators, shown: Callable[[], JsonObject], reload: Reload) -> APIRouter:
    """`GET /admin/v1/config` and `POST /admin/v1/config/reload`."""
    router = APIRouter(prefix="/admin/v1", tags=["operators"], responses=ERRORS)

    @router.get("/config", summary="The running configuration, without secrets")
    async def show(request: Request) -> JSONResponse:
        operators.viewer(request)
        return JSONResponse(shown())

    @router.post("/config/reload", summary="Read the configuration file again")
    async def again(request: Request) -> JSONResponse:
        admin = operators.admin(request)
        result = await reload()
        _audit.info(
            "config reload", extra={"who": admin.name, "result": result["result"], "version": result["version"]}
        )
        return JSONResponse(result, status_code=200 if result["result"] != "refused" else 400)

    return router
