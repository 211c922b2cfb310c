"""`POST /v1/moderations`: the gateway's own ensemble as a service, in OpenAI's shape."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect

from app import config
from app.api.arrivals import new_id, read_headers
from app.api.cycle import REQUEST_ID
from app.api.schemas import ERRORS
from app.errors import INVALID_REQUEST, MODEL_NOT_FOUND, REQUEST_TOO_LARGE, GatewayError, Outcome
from app.exchange import JsonObject, Operation
from app.pipeline.admit import Admission
from app.pipeline.authenticate import authenticate
from app.pipeline.progress import AUTHENTICATE, GUARD, VALIDATE, Progress
from app.pipeline.report import Report
from app.pipeline.spans import Tracer
from app.table import State, Table

MOST_INPUTS = 1000
_DEFAULT = "default"
_OPENAI_NAMES = ("omni-moderation", "text-moderation")


class Moderator(Protocol):
    """Judges texts."""

    async def moderate(
        self, guard: config.Guard, tenant: str, texts: Sequence[str], report: Report
    ) -> list[JsonObject]:
        """A result for each text. Raises `GatewayError`."""


class Records(Protocol):
    """Takes the record of each request."""

    def record(self, progress: Progress) -> None:
        """The request has ended."""


class Part(BaseModel):
    """A text among several parts of one input."""

    model_config = ConfigDict(extra="allow")
    type: str = Field(description="`text`; images are refused, because nobody here looks at them.")
    text: str | None = None


class ModerationRequest(BaseModel):
    """What is to be judged, and by which guard."""

    model_config = ConfigDict(extra="allow")
    input: str | list[str] | list[Part] = Field(description=f"One text, up to {MOST_INPUTS} texts, or parts of one.")
    model: str | None = Field(None, description="A guard's name; OpenAI's names and none mean `default`.")


class Judgement(BaseModel):
    """One input, judged. Categories are OpenAI's and the gateway's own; `severity` is 0, 2, 4 or 6."""

    model_config = ConfigDict(extra="allow")
    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    severity: dict[str, int]


class ModerationResponse(BaseModel):
    """One result for each input."""

    id: str
    model: str = Field(description="The guard that judged.")
    results: list[Judgement]


def moderations(
    state: State, admission: Admission, moderator: Moderator, recorder: Records, tracer: Tracer
) -> APIRouter:
    """The route. Credentials are looked at before the body is read; every request has its outcome and its line."""
    router = APIRouter(tags=["moderations"], responses=ERRORS)
    schema = ModerationRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    body = {"required": True, "content": {"application/json": {"schema": schema}}}

    @router.post(
        "/v1/moderations",
        summary="Judge texts with a guard",
        response_model=ModerationResponse,
        openapi_extra={"requestBody": body},
    )
    async def moderate(request: Request) -> Response:
        scope = request.scope
        progress = Progress(scope[REQUEST_ID], Operation.MODERATION)
        progress.trace = tracer.begin(progress.request_id, scope["path"], scope["headers"])
        try:
            answer = await judge(request, progress)
            progress.outcome, progress.status = Outcome.OK, 200
            return JSONResponse(answer)
        except GatewayError as error:
            progress.fail(error)
            raise
        except (asyncio.CancelledError, ClientDisconnect) as departure:
            progress.cut(departure if isinstance(departure, asyncio.CancelledError) else GeneratorExit())
            raise
        finally:
            recorder.record(progress)

    async def judge(request: Request, progress: Progress) -> JsonObject:
        table = state.table
        progress.principal = who = authenticate(table, read_headers(request.scope["headers"])[0])
        progress.mark(AUTHENTICATE)
        try:
            raw = await _body(request, table.bounds.max_body_bytes)
        finally:
            progress.resume()
        document = _document(raw)
        texts = _texts(document.get("input"))
        guard = _guard(table, document.get("model"))
        progress.mark(VALIDATE)
        progress.report = report = Report(guard.name)
        with admission:
            results = await moderator.moderate(guard, who.tenant, texts, report)
        progress.mark(GUARD)
        return {"id": f"modr-{new_id()}", "model": guard.name, "results": results}

    return router


async def _body(request: Request, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit:
            raise GatewayError(
                REQUEST_TOO_LARGE, f"The body is larger than {limit} bytes, the most that is taken here."
            )
        pieces.append(piece)
    return b"".join(pieces)


def _document(raw: bytes) -> JsonObject:
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise GatewayError(INVALID_REQUEST, f"The body is not valid JSON: {error}.") from None
    if type(document) is not dict:
        raise GatewayError(INVALID_REQUEST, "The body must be a JSON object.")
    return document


def _guard(table: Table, name: object) -> config.Guard:
    if name is None or (type(name) is str and name not in table.guards and name.startswith(_OPENAI_NAMES)):
        name = _DEFAULT
    if type(name) is not str or not name:
        raise GatewayError(INVALID_REQUEST, "`model` must be a guard's name.", param="model")
    guard = table.guards.get(name)
    if guard is None:
        raise GatewayError(MODEL_NOT_FOUND, f"There is no guard `{name[:64]}` here.", param="model")
    return guard


def _texts(given: Any) -> list[str]:
    """The texts of an input; parts are one text together."""
    if type(given) is str:
        return [given]
    if type(given) is list and 0 < len(given) <= MOST_INPUTS:
        if all(type(one) is str for one in given):
            return given
        if all(type(one) is dict and one.get("type") == "text" and type(one.get("text")) is str for one in given):
            return ["\n".join(one["text"] for one in given)]
    message = f"`input` must be a text, an array of 1 to {MOST_INPUTS} texts, or an array of text parts."
    raise GatewayError(INVALID_REQUEST, message, param="input")
