"""What callers may ask beside the data plane: which models there are, and whether the gateway is alive and ready."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from app.api.arrivals import read_headers
from app.api.schemas import ERRORS
from app.errors import MODEL_NOT_FOUND, GatewayError
from app.exchange import JsonObject, Principal
from app.pipeline.authenticate import authenticate
from app.table import Model, State

Readiness = Callable[[], dict[str, str]]
"""The state of every dependency, `ok` or what is the matter; key `gateway` holds what makes the whole not ready."""


def catalogue(state: State) -> APIRouter:
    """`GET /v1/models` and `GET /v1/models/{id}`, in OpenAI's and Anthropic's shape plus the catalogue's facts."""
    router = APIRouter(tags=["models"], responses=ERRORS)

    def visible(request: Request) -> tuple[Principal, dict[str, Model]]:
        table = state.table
        principal = authenticate(table, read_headers(request.scope["headers"])[0])
        allowed = principal.models
        return principal, {name: model for name, model in table.models.items() if allowed is None or name in allowed}

    @router.get("/v1/models", summary="List the models that this key may use")
    async def models(request: Request) -> dict[str, Any]:
        found = [describe(model) for model in visible(request)[1].values()]
        ends = {"first_id": found[0]["id"] if found else None, "last_id": found[-1]["id"] if found else None}
        return {"object": "list", "data": found, "has_more": False, **ends}

    @router.get("/v1/models/{name:path}", summary="Describe one model")
    async def model(name: str, request: Request) -> dict[str, Any]:
        found = visible(request)[1].get(name)
        if found is None:
            raise GatewayError(
                MODEL_NOT_FOUND,
                f"The model `{name[:64]}` does not exist here, or this key may not use it.",
                param="model",
            )
        return describe(found)

    return router


def describe(model: Model) -> JsonObject:
    """What the public may know of a model: OpenAI's and Anthropic's fields of a model, and those of the catalogue.

    Limits, price and the rest are those of the deployment that serves it; null is not known. `price` is in US dollars
    per million tokens, per image and per request.
    """
    serving, catalog = model.stable, model.stable.catalog
    modalities = {"input": catalog.input, "output": catalog.output}
    return {
        "id": model.name,
        "object": "model",
        "type": "model",
        "display_name": model.name,
        "created": 0,
        "created_at": "1970-01-01T00:00:00Z",
        "owned_by": serving.provider,
        "provider": serving.provider,
        "context_window": serving.context_window,
        "max_output_tokens": serving.max_output_tokens,
        "parameters": catalog.parameters,
        "license": catalog.license,
        "modalities": modalities if catalog.input else None,
        "price": serving.price.listed(),
        "price_source": {"url": catalog.source, "date": catalog.date} if catalog.source else None,
    }


def probes(readiness: Readiness) -> APIRouter:
    """`GET /livez`: the event loop turns. `GET /readyz`: requests can be served; says what cannot."""
    router = APIRouter(tags=["probes"])

    @router.get("/livez", summary="Is the process alive?")
    async def livez() -> dict[str, str]:
        return {"status": "ok"}

    not_ready: dict[int | str, dict[str, Any]] = {503: {"description": "They cannot; `checks` says why."}}

    @router.get("/readyz", summary="Can requests be served?", responses=not_ready)
    async def readyz() -> Response:
        checks = readiness()
        ready = checks["gateway"] == "ok"
        return JSONResponse(
            {"status": "ready" if ready else "not ready", "checks": checks}, status_code=200 if ready else 503
        )

    return router
