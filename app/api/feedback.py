"""`POST /v1/feedback`: what callers say of answers that they got."""

from __future__ import annotations

import asyncio
import math
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from app.api.arrivals import read_headers
from app.api.routes import checked_first
from app.api.schemas import ERRORS
from app.errors import NOT_FOUND, OVERLOADED, GatewayError
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

    def known(request: Request) -> None:
        authenticate(state.table, read_headers(request.scope["headers"])[0])

    router = APIRouter(tags=["feedback"], responses=ERRORS, route_class=checked_first(known, _MOST_BODY))

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
