"""What callers may ask beside the data plane: which models there are, and whether the gateway is alive and ready."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from app.api.hot import read_headers
from app.api.schemas import ERRORS
from app.errors import MODEL_NOT_FOUND, GatewayError
from app.exchange import Principal
from app.pipeline.authenticate import authenticate
from app.table import Model, State

Readiness = Callable[[], dict[str, str]]
"""The state of every dependency, `ok` or what is the matter; key `gateway` holds what makes the whole not ready."""


def catalogue(state: State) -> APIRouter:
    """`GET /v1/models` and `GET /v1/models/{id}`, in OpenAI's shape plus the catalogue's facts."""
    router = APIRouter(tags=["models"], responses=ERRORS)

    def visible(request: Request) -> tuple[Principal, dict[str, Model]]:
        table = state.table
        principal = authenticate(table, read_headers(request.scope["headers"])[0])
        allowed = principal.models
        return principal, {name: model for name, model in table.models.items() if allowed is None or name in allowed}

    @router.get("/v1/models", summary="List the models that this key may use")
    async def models(request: Request) -> dict[str, Any]:
        return {"object": "list", "data": [_describe(model) for model in visible(request)[1].values()]}

    @router.get("/v1/models/{name:path}", summary="Describe one model")
    async def model(name: str, request: Request) -> dict[str, Any]:
        found = visible(request)[1].get(name)
        if found is None:
            raise GatewayError(
                MODEL_NOT_FOUND,
                f"The model `{name[:64]}` does not exist here, or this key may not use it.",
                param="model",
            )
        return _describe(found)

    return router


def _describe(model: Model) -> dict[str, Any]:
    serving = model.stable
    return {
        "id": model.name,
        "object": "model",
        "created": 0,
        "owned_by": serving.provider,
        "context_window": serving.context_window,
        "max_output_tokens": serving.max_output_tokens,
        "parameters": serving.parameters,
        "license": serving.license,
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
