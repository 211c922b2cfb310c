"""OpenAI's responses as a surface."""

from __future__ import annotations

from app.api.responses.request import understand
from app.api.responses.stream import ResponsesWriter
from app.errors import GatewayError
from app.exchange import Call, JsonObject, Operation
from app.pipeline.progress import Progress


class ResponsesSurface:
    """`/v1/responses`."""

    __slots__ = ()

    def understand(self, operation: Operation, raw: bytes) -> Call:
        """A chat."""
        return understand(operation, raw)

    def writer(self, progress: Progress) -> ResponsesWriter:
        """A fresh writer."""
        return ResponsesWriter(progress)

    def document(self, error: GatewayError, request_id: str) -> JsonObject:  # noqa: ARG002  # as every surface
        """OpenAI's shape."""
        return dict(error.document())
