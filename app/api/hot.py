"""The data plane as bare ASGI: the handler behind every `POST /v1/...` that reaches a model.

FastAPI's routing, dependencies and responses cost 79 µs where this costs 8, read a stranger's body before they
authenticate, and never close a generator (`docs/decisions/0002-hot-path.md`). What is served here is documented by
`api/openapi.py`, and a test holds the two equal.
"""

from __future__ import annotations

import asyncio
from typing import Final

from app.api.answers import Send, send_error
from app.api.arrivals import Receive, Scope, new_ids, read_body, read_head
from app.api.cycle import OUTLET
from app.api.messages.surface import MessagesSurface
from app.api.relay import Relay, say_goodbye
from app.api.responses.surface import ResponsesSurface
from app.api.surface import OpenAISurface, Surface
from app.errors import METHOD_NOT_ALLOWED, GatewayError
from app.exchange import Operation, made
from app.pipeline.progress import Progress
from app.pipeline.serve import Arrival, Services
from app.pipeline.transcript import Transcript

OPERATIONS: dict[str, Operation] = {
    "/v1/chat/completions": Operation.CHAT,
    "/v1/completions": Operation.COMPLETION,
    "/v1/embeddings": Operation.EMBEDDINGS,
    "/v1/messages": Operation.CHAT,
    "/v1/messages/count_tokens": Operation.TOKENIZE,
    "/v1/responses": Operation.CHAT,
    "/v1/rerank": Operation.RERANK,
    "/v1/score": Operation.SCORE,
    "/tokenize": Operation.TOKENIZE,
}
"""The hot dispatch table: path to operation."""
OPENAI: Final[Surface] = OpenAISurface()
_MESSAGES: Final = MessagesSurface()
SURFACES: dict[str, Surface] = {
    "/v1/messages": _MESSAGES,
    "/v1/messages/count_tokens": _MESSAGES,
    "/v1/responses": ResponsesSurface(),
}
"""The paths that are not spoken in OpenAI's shape."""


class Hot:
    """Serves the data plane."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._ids = new_ids()

    async def __call__(self, operation: Operation, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens to it."""
        surface = SURFACES.get(scope["path"], OPENAI)
        progress = Progress(next(self._ids), operation)
        if scope["method"] != "POST":
            error = GatewayError(METHOD_NOT_ALLOWED, f"Use POST for {scope['path']}.")
            headers = [(b"allow", b"POST"), (b"x-request-id", progress.request_id.encode())]
            await send_error(send, error, headers, surface.document(error, progress.request_id))
            return
        headers = scope["headers"]
        credentials, length, wishes = read_head(headers)
        progress.trace = trace = self._services.tracer.begin(progress.request_id, scope["path"], headers)
        if trace is not None and trace.captures:
            progress.transcript = Transcript()

        async def body(limit: int) -> bytes:
            return await read_body(scope, receive, length, limit)

        cycle = scope.get(OUTLET)
        outlet = cycle if surface is OPENAI else None
        arrival = made(Arrival, (credentials, body, wishes, outlet, surface.understand, None))
        try:
            await Relay(progress, surface, send, cycle).run(arrival, self._services)
        except asyncio.CancelledError as cancellation:
            progress.cut(cancellation)
        if progress.shut_down:
            await say_goodbye(progress, surface, send)
