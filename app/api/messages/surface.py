"""Anthropic's shape as a surface."""

from __future__ import annotations

from app.api.messages.errors import document
from app.api.messages.request import understand
from app.api.messages.stream import MessagesWriter
from app.errors import GatewayError
from app.exchange import Call, JsonObject, Operation
from app.pipeline.progress import Progress


class MessagesSurface:
    """`/v1/messages` and `/v1/messages/count_tokens`."""

    __slots__ = ()

    def understand(self, operation: Operation, raw: bytes) -> Call:
        """A chat, or a prompt to count."""
        return understand(operation, raw)

    def writer(self, progress: Progress) -> MessagesWriter:
        """A fresh writer."""
        return MessagesWriter(progress)

    def document(self, error: GatewayError, request_id: str) -> JsonObject:
        """Anthropic's shape."""
        return document(error, request_id)
