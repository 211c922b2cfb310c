"""Tenants, keys and their audit, for operators: `/admin/v1/{tenants,keys,audit}`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from app.api.ops import Operators, guarded
from app.api.schemas import ERRORS
from app.errors import INVALID_REQUEST, OVERLOADED, GatewayError
from app.exchange import JsonObject
from app.stores.directory import Directory, DirectoryUnavailable, Refused

MOST_LISTED = 1000
"""Entries of a page: what a list has without `limit`, and at most."""
Limit = Annotated[int, Query(ge=1, le=MOST_LISTED)]


class NewTenant(BaseModel):
    """A tenant to be made; its settings are those of the configuration's `tenants`."""

    model_config = ConfigDict(extra="allow")
    name: str


class TenantSettings(BaseModel):
    """A tenant's settings, as in the configuration's `tenants`, its name and keys apart."""

    model_config = ConfigDict(extra="allow")


class KeySettings(BaseModel):
    """What a key may use. Without `models`: all of them."""

    models: Annotated[list[str], Field(min_length=1)] | None = None
    budgets: list[dict[str, Any]] = []
    pin: bool = False


class NewKey(KeySettings):
    """A key to be made."""

    tenant: str
    name: str


@asynccontextmanager
async def answering() -> AsyncIterator[None]:
    """What goes wrong in the directory, as an answer."""
    try:
        yield
    except Refused as error:
        raise GatewayError(INVALID_REQUEST, str(error)) from error
    except DirectoryUnavailable as error:
        raise GatewayError(OVERLOADED, "The database does not answer. Try again shortly.", retry_after=1.0) from error


def page(found: list[JsonObject], limit: int) -> JsonObject:
    """A list of which one entry more than `limit` was looked for: that there is one tells that there are more."""
    return {"data": found[:limit], "has_more": len(found) > limit}


def directory_admin(operators: Operators, directory: Directory, refresh: Callable[[], Awaitable[None]]) -> APIRouter:
    """The routes. `refresh` makes a change known in this process at once; other workers look within half a second."""
    router = APIRouter(prefix="/admin/v1", tags=["operators"], responses=ERRORS, route_class=guarded(operators))

    @router.get("/tenants", summary="List the tenants that were made here")
    async def tenants(limit: Limit = MOST_LISTED, after: str = "") -> dict[str, Any]:
        async with answering():
            return page(await directory.list_tenants(limit + 1, after), limit)

    @router.post("/tenants", status_code=201, summary="Make a tenant")
    async def new_tenant(request: Request, wanted: NewTenant) -> dict[str, Any]:
        who = operators.admin(request).name
        settings = wanted.model_dump(exclude={"name"})
        async with answering():
            made = await directory.create_tenant(who, wanted.name, settings)
            await refresh()
            return made

    @router.put("/tenants/{name}", summary="Replace the settings of a tenant that was made here")
    async def change_tenant(request: Request, name: str, wanted: TenantSettings) -> dict[str, Any]:
        who = operators.admin(request).name
        async with answering():
            made = await directory.change_tenant(who, name, wanted.model_dump())
            await refresh()
            return made

    _keys(router, operators, directory, refresh)

    @router.get("/audit", summary="Who changed what, latest first")
    async def audit(limit: Limit = 100, before: int | None = None) -> dict[str, Any]:
        async with answering():
            return {"data": await directory.audit(limit, before)}

    return router


def _keys(
    router: APIRouter, operators: Operators, directory: Directory, refresh: Callable[[], Awaitable[None]]
) -> None:
    @router.get("/keys", summary="List the keys that were made here, without their secrets")
    async def keys(tenant: str | None = None, limit: Limit = MOST_LISTED, after: str | None = None) -> dict[str, Any]:
        async with answering():
            return page(await directory.list_keys(tenant, limit + 1, after), limit)

    @router.post("/keys", status_code=201, summary="Make a key; its secret is shown this once")
    async def new_key(request: Request, wanted: NewKey) -> dict[str, Any]:
        who = operators.admin(request).name
        settings = wanted.model_dump(exclude={"tenant", "name"}, exclude_defaults=True)
        async with answering():
            made = await directory.create_key(who, wanted.tenant, wanted.name, settings)
            await refresh()
            return {"id": made.id, "tenant": wanted.tenant, "name": wanted.name, "secret": made.secret}

    @router.put("/keys/{key_id}", summary="Replace the models and budgets of a key; its secret stays")
    async def change(request: Request, key_id: str, wanted: KeySettings) -> dict[str, Any]:
        who = operators.admin(request).name
        async with answering():
            made = await directory.change_key(who, key_id, wanted.model_dump(exclude_defaults=True))
            await refresh()
            return made

    @router.post("/keys/{key_id}/rotate", summary="Give a key a new secret; the old one stops working")
    async def rotate(request: Request, key_id: str) -> dict[str, Any]:
        who = operators.admin(request).name
        async with answering():
            made = await directory.rotate_key(who, key_id)
            await refresh()
            return {"id": made.id, "secret": made.secret}

    @router.delete("/keys/{key_id}", summary="Revoke a key")
    async def revoke(request: Request, key_id: str) -> dict[str, Any]:
        who = operators.admin(request).name
        async with answering():
            await directory.revoke_key(who, key_id)
            await refresh()
            return {"id": key_id, "revoked": True}
