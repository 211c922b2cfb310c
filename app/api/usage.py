"""Who spent what on which model, by day: `GET /admin/v1/usage` for operators, `GET /v1/usage` for a key's own."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from app.api.arrivals import read_headers
from app.api.ops import Operators
from app.api.schemas import ERRORS
from app.errors import INVALID_REQUEST, NOT_FOUND, OVERLOADED, GatewayError
from app.exchange import JsonObject
from app.pipeline.authenticate import authenticate
from app.pipeline.reservation import StoreUnavailable
from app.stores.delivery import SinkUnavailable
from app.stores.sql import DAY, Ledger
from app.stores.usage import BY, DEFAULT_BY, as_csv, as_documents
from app.table import State

Day = Annotated[date | None, Query(description="UTC day, for example 2026-11-23")]
_MONTH = 30


def usage_admin(operators: Operators, ledger: Ledger | None) -> APIRouter:
    """`GET /admin/v1/usage`; without a ledger (`stores.ledger` off) it says that there is none."""
    router = APIRouter(prefix="/admin/v1", tags=["operators"], responses=ERRORS)

    @router.get("/usage", summary="Usage by day, tenant, key and model, as JSON or CSV", response_model=None)
    async def usage(
        request: Request,
        first: Annotated[date | None, Query(alias="from")] = None,
        to: Day = None,
        by: str = ",".join(DEFAULT_BY),
        tenant: str | None = None,
        key: str | None = None,
        model: str | None = None,
        form: Annotated[str, Query(alias="format", pattern="^(json|csv)$")] = "json",
    ) -> Response:
        operators.viewer(request)
        where = {"tenant": tenant, "key": key, "model": model}
        return await _answer(ledger, first, to, by, {name: value for name, value in where.items() if value}, form)

    return router


def budgets_admin(operators: Operators, read: Callable[[], Awaitable[list[JsonObject]]]) -> APIRouter:
    """`GET /admin/v1/budgets`. `read` raises `StoreUnavailable`."""
    router = APIRouter(prefix="/admin/v1", tags=["operators"], responses=ERRORS)

    @router.get("/budgets", summary="Every budget, and how full it is in its current window")
    async def budgets(request: Request) -> dict[str, Any]:
        operators.viewer(request)
        try:
            return {"object": "list", "data": await read()}
        except StoreUnavailable as error:
            raise GatewayError(OVERLOADED, "The limit store does not answer.", retry_after=1.0) from error

    return router


def own_usage(state: State, ledger: Ledger | None) -> APIRouter:
    """`GET /v1/usage`; without a ledger it says that there is none."""
    router = APIRouter(tags=["usage"], responses=ERRORS)

    @router.get("/v1/usage", summary="What this key has used, by day and model", response_model=None)
    async def usage(
        request: Request, first: Annotated[date | None, Query(alias="from")] = None, to: Day = None
    ) -> Response:
        who = authenticate(state.table, read_headers(request.scope["headers"])[0])
        return await _answer(ledger, first, to, "day,model", {"tenant": who.tenant, "key": who.key}, "json")

    return router


async def _answer(
    ledger: Ledger | None, first: date | None, to: date | None, by: str, where: dict[str, str], form: str
) -> Response:
    if ledger is None:
        raise GatewayError(NOT_FOUND, "Usage is not written down here: the ledger is off (`stores.ledger`).")
    groups = tuple(by.split(","))
    if not groups or set(groups) - set(BY):
        raise GatewayError(INVALID_REQUEST, f"`by` is a list of {', '.join(BY)}, with commas.", param="by")
    today = int(time.time() // DAY)
    last = _day(to) if to is not None else today
    begin = _day(first) if first is not None else last - _MONTH + 1
    try:
        found = await ledger.usage(begin, last, groups, where)
    except SinkUnavailable as error:
        raise GatewayError(OVERLOADED, "The database does not answer. Try again shortly.", retry_after=1.0) from error
    if form == "csv":
        return Response(as_csv(found, groups), media_type="text/csv")
    document: dict[str, Any] = {"object": "list", "data": as_documents(found)}
    return JSONResponse(document)


def _day(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() // DAY)
