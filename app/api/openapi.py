"""The OpenAPI page of the data plane, which FastAPI does not route: made from `hot.OPERATIONS` and `api/schemas.py`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.api.hot import OPERATIONS
from app.api.messages.schemas import (
    CountRequest,
    CountResponse,
    MessagesError,
    MessagesRequest,
    MessagesResponse,
)
from app.api.responses.schemas import ResponsesRequest, ResponsesResponse
from app.api.schemas import (
    ChatRequest,
    ChatResponse,
    CompletionRequest,
    CompletionResponse,
    EmbeddingsRequest,
    EmbeddingsResponse,
    ErrorResponse,
    RerankRequest,
    RerankResponse,
    ScoreRequest,
    ScoreResponse,
    TokenizeRequest,
    TokenizeResponse,
)
from app.errors import CODES

Shape = tuple[str, type[BaseModel], type[BaseModel], bool]

SHAPES: dict[str, Shape] = {
    "/v1/chat/completions": ("Create a chat completion", ChatRequest, ChatResponse, True),
    "/v1/completions": ("Create a text completion", CompletionRequest, CompletionResponse, True),
    "/v1/embeddings": ("Create embeddings", EmbeddingsRequest, EmbeddingsResponse, False),
    "/v1/messages": ("Create a message (Anthropic's shape)", MessagesRequest, MessagesResponse, True),
    "/v1/messages/count_tokens": ("Count a message's tokens", CountRequest, CountResponse, False),
    "/v1/responses": ("Create a response", ResponsesRequest, ResponsesResponse, True),
    "/v1/rerank": ("Rank documents by a query", RerankRequest, RerankResponse, False),
    "/v1/score": ("Score pairs of texts", ScoreRequest, ScoreResponse, False),
    "/tokenize": ("Tokenize a prompt", TokenizeRequest, TokenizeResponse, False),
}
"""Per path: what it does, what it takes and gives, whether it can be streamed."""
_REFERENCE = "#/components/schemas/{model}"
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
}
_ANY_KEY: list[dict[str, list[str]]] = [{name: []} for name in _SECURITY]


def describe(page: dict[str, Any]) -> dict[str, Any]:
    """FastAPI's page with the data plane's paths, schemas and credentials added."""
    models = {model for _, request, response, _ in SHAPES.values() for model in (request, response)}
    models |= {ErrorResponse, MessagesError}
    ordered = sorted(models, key=lambda model: model.__name__)
    schemas = models_json_schema([(model, "validation") for model in ordered], ref_template=_REFERENCE)[1]["$defs"]
    components = page.setdefault("components", {})
    components.setdefault("schemas", {}).update(schemas)
    components["securitySchemes"] = _SECURITY
    for path, methods in page["paths"].items():
        if path.startswith(("/v1/", "/admin/")):
            methods.update({name: {**one, "security": _ANY_KEY} for name, one in methods.items()})
    for path in OPERATIONS:
        page["paths"][path] = {"post": _operation(path, *SHAPES[path])}
    page["paths"] = dict(sorted(page["paths"].items()))
    return page


def _operation(
    path: str,
    summary: str,
    request: type[BaseModel],
    response: type[BaseModel],
    streams: bool,  # noqa: FBT001  # a row
) -> dict[str, Any]:
    answer = {"application/json": {"schema": _reference(response)}}
    error = MessagesError if path.startswith("/v1/messages") else ErrorResponse
    if streams:
        answer["text/event-stream"] = {
            "schema": {"type": "string", "description": "With `stream: true`: server-sent events."}
        }
    statuses: dict[int, list[str]] = {}
    for code in CODES.values():
        statuses.setdefault(code.status, []).append(code.name)
    errors = {
        str(status): {
            "description": ", ".join(f"`{name}`" for name in names),
            "content": {"application/json": {"schema": _reference(error)}},
        }
        for status, names in sorted(statuses.items())
    }
    return {
        "summary": summary,
        "tags": ["data plane"],
        "operationId": path.removeprefix("/v1").strip("/").replace("/", "_"),
        "security": _ANY_KEY,
        "requestBody": {"required": True, "content": {"application/json": {"schema": _reference(request)}}},
        "responses": {"200": {"description": "The answer.", "content": answer}, **errors},
    }


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}
