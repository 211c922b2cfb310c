"""`POST /v1/feedback`: what callers say of answers that they got."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field

from app.api.hot import read_headers
from app.api.schemas import ERRORS
from app.errors import INVALID_REQUEST, NOT_FOUND, OVERLOADED, REQUEST_TOO_LARGE, GatewayError
from app.pipeline.authenticate import authenticate
from app.stores.feedback import Answered, FeedbackStore
from app.stores.notes import StoreUnavailable
from app.table import State
from app.telemetry import FEEDBACK_SCORE, Telemetry

WAIT_S = 3.0
"""How long an answer that was just given may take to reach the ledger."""
_LOOK_S = 0.2
_MOST_BODY = 16 * 1024


class Feedback(BaseModel):
    """A score, in the caller's own scale, of the answer whose `x-request-id` this is."""

    model_config = ConfigDict(extra="forbid")
    request_id: Annotated[str, Field(min_length=1, max_length=255)]
    score: Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False, strict=True)]
    comment: Annotated[str, Field(max_length=2000)] | None = None


def feedback(state: State, store: FeedbackStore, telemetry: Telemetry) -> APIRouter:
    """The route. A request is known to the tenant that made it, and to nobody else."""
    router = APIRouter(tags=["feedback"], responses=ERRORS, route_class=_known(state))

    @router.post("/v1/feedback", summary="Say how good an answer was")
    async def say(request: Request, said: Feedback) -> dict[str, Any]:
        who = authenticate(state.table, read_headers(request.scope["headers"])[0])
        try:
            about = await _find(store, said.request_id)
            if about is None or about.tenant != who.tenant:
                message = "No answer of this gateway to you has this `request_id`; it is the `x-request-id` of one."
                raise GatewayError(NOT_FOUND, message, param="request_id")
            await store.put(said.request_id, about, said.score, said.comment)
        except StoreUnavailable as error:
            message = "The database does not answer. Try again shortly."
            raise GatewayError(OVERLOADED, message, retry_after=1.0) from error
        telemetry.histogram(FEEDBACK_SCORE, about.model, about.deployment).observe(said.score)
        return {"request_id": said.request_id, "score": said.score}

    return router


async def _find(store: FeedbackStore, request_id: str) -> Answered | None:
    for _ in range(math.ceil(WAIT_S / _LOOK_S)):
        about = await store.find(request_id)
        if about is not None:
            return about
        await asyncio.sleep(_LOOK_S)
    return None


def _known(state: State) -> type[APIRoute]:
    """Routes that know who calls, and how long the body is, before they read it: FastAPI reads bodies first."""

    class Known(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            inner = super().get_route_handler()

            async def handle(request: Request) -> Response:
                authenticate(state.table, read_headers(request.scope["headers"])[0])
                if "transfer-encoding" in request.headers:
                    raise GatewayError(INVALID_REQUEST, "A body needs a `content-length` here.")
                if int(request.headers.get("content-length", 0)) > _MOST_BODY:
                    raise GatewayError(REQUEST_TOO_LARGE, f"A body may have {_MOST_BODY} bytes here.")
                return await inner(request)

            return handle

    return Known
