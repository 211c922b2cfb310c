"""The callers' application: a FastAPI application that serves the data plane itself, before its own machinery."""

from __future__ import annotations

import math
from collections.abc import Coroutine, MutableMapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from app.api.answers import Send
from app.api.arrivals import Receive, Scope, new_id
from app.api.cycle import REQUEST_ID
from app.api.hot import OPERATIONS, Hot
from app.api.openapi import describe
from app.errors import INTERNAL_ERROR, INVALID_REQUEST, METHOD_NOT_ALLOWED, NOT_FOUND, GatewayError

_BY_STATUS = {404: NOT_FOUND, 405: METHOD_NOT_ALLOWED}


class GatewayApp(FastAPI):
    """FastAPI, but for the paths in `hot.OPERATIONS`."""

    def __init__(self, hot: Hot, version: str) -> None:
        super().__init__(
            title="Sluicegate", version=version, openapi_url="/openapi.json", docs_url="/docs", redoc_url=None
        )
        self._hot = hot
        add_error_handlers(self)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        """The hot path for the data plane's paths, FastAPI for everything else."""
        operation = OPERATIONS.get(scope.get("path", ""))
        if operation is not None:
            return self._hot(operation, scope, receive, send)
        return super().__call__(scope, receive, _identified(scope, send))

    def openapi(self) -> dict[str, Any]:
        """One page for everything: FastAPI's own routes, and the data plane's."""
        if self.openapi_schema is None:
            self.openapi_schema = describe(super().openapi())
        return self.openapi_schema


def ops_app(version: str, callers: GatewayApp) -> FastAPI:
    """The operators' application; its page describes the callers' API too."""

    class OpsApp(FastAPI):
        def __call__(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
            return super().__call__(scope, receive, _identified(scope, send))

        def openapi(self) -> dict[str, Any]:
            if self.openapi_schema is None:
                own, theirs = describe(super().openapi()), callers.openapi()
                paths = {**theirs["paths"], **own["paths"]}
                schemas = {**theirs["components"]["schemas"], **own["components"]["schemas"]}
                components = {**own["components"], "schemas": dict(sorted(schemas.items()))}
                self.openapi_schema = {**own, "paths": dict(sorted(paths.items())), "components": components}
            return self.openapi_schema

    app = OpsApp(title="Sluicegate", version=version, openapi_url="/openapi.json", docs_url="/docs", redoc_url=None)
    add_error_handlers(app)
    return app


def _identified(scope: Scope, send: Send) -> Send:
    """Have the answer name the request's id, by which the logs know it."""
    request_id = scope[REQUEST_ID] = new_id()

    async def send_identified(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
        await send(message)

    return send_identified


def add_error_handlers(app: FastAPI) -> None:
    """Every error in OpenAI's shape, FastAPI's own included."""
    for kind in (GatewayError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _respond)


def _respond(request: Request, error: Exception) -> Response:
    meant, headers = _meaning(request, error)
    if meant.retry_after is not None:
        headers["retry-after"] = str(math.ceil(meant.retry_after))
    return JSONResponse(meant.document(), status_code=meant.status, headers=headers)


def _meaning(request: Request, error: Exception) -> tuple[GatewayError, dict[str, str]]:
    """What an exception means to whoever asked, and the headers that go with it."""
    if isinstance(error, GatewayError):
        return error, {}
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        return GatewayError(INVALID_REQUEST, f"`{place}`: {first['msg']}.", param=place or None), {}
    if isinstance(error, HTTPException):
        code = _BY_STATUS.get(error.status_code, INVALID_REQUEST)
        known = code is not INVALID_REQUEST
        message = f"There is no {request.method} {request.scope['path']} here." if known else str(error.detail)
        return GatewayError(code, message, status=error.status_code), dict(error.headers or {})
    return GatewayError(INTERNAL_ERROR, INTERNAL_ERROR.meaning), {}
