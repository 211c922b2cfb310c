"""The shapes in which callers speak to the data plane. Between surface and dialect there is one vocabulary: OpenAI's.

OpenAI's own surface changes nothing. Another one (`api/messages`, `api/responses`) turns a request into a chat request
on the way in, and the events of its answer into what its callers expect on the way out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from app.api.answers import DONE, error_event, events
from app.errors import UPSTREAM_ERROR, GatewayError
from app.exchange import Batch, Call, Event, JsonObject, Operation
from app.pipeline.progress import Progress
from app.pipeline.validate import validate, wrong

MALFORMED: Final = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What reading a chunk of an unexpected shape raises."""


def malformed() -> GatewayError:
    """The error for an answer that a surface cannot tell."""
    return GatewayError(UPSTREAM_ERROR, "The upstream's answer is malformed.")


def string(value: object) -> str:
    """A text of an upstream's. Raises `TypeError` where it is none."""
    if type(value) is not str:
        raise TypeError("not a string")
    return value


def offered(body: JsonObject, read: Callable[[Any, str], JsonObject]) -> list[JsonObject]:
    """The tools that a request offers, each read by `read(tool, place)`. Raises `GatewayError`."""
    tools = body.get("tools")
    if not tools:
        return []
    if type(tools) is not list:
        raise wrong("tools", "`tools`", "an array", tools)
    return [read(tool, f"tools[{number}]") for number, tool in enumerate(tools)]


class Writer(Protocol):
    """Writes one answer."""

    def whole(self, event: Event) -> bytes:
        """The body of an answer that is not streamed."""

    def events(self, batch: Batch) -> bytes:
        """Events of a stream, as bytes; empty where there is nothing to tell."""

    def end(self, error: GatewayError | None) -> bytes:
        """The end of a stream that has begun: the last events, or the error that broke it off."""


class Surface(Protocol):
    """How one path is spoken."""

    def understand(self, operation: Operation, raw: bytes) -> Call:
        """The call that a body means. Raises `GatewayError` `invalid_request`."""

    def writer(self, progress: Progress) -> Writer:
        """A fresh writer for this request's answer."""

    def document(self, error: GatewayError, request_id: str) -> JsonObject:
        """An error's body."""


class OpenAIWriter:
    """What came from the upstream, as it came."""

    __slots__ = ()

    def whole(self, event: Event) -> bytes:
        """The event's own text."""
        return event.data

    def events(self, batch: Batch) -> bytes:
        """As server-sent events."""
        return events(batch)

    def end(self, error: GatewayError | None) -> bytes:
        """`[DONE]`, or the error."""
        return DONE if error is None else error_event(error)


class OpenAISurface:
    """OpenAI's shape: the gateway's own."""

    __slots__ = ("_writer",)

    def __init__(self) -> None:
        self._writer = OpenAIWriter()

    def understand(self, operation: Operation, raw: bytes) -> Call:
        """`validate`."""
        return validate(operation, raw)

    def writer(self, progress: Progress) -> Writer:  # noqa: ARG002  # as every surface
        """Always the same: it remembers nothing."""
        return self._writer

    def document(self, error: GatewayError, request_id: str) -> JsonObject:  # noqa: ARG002  # as every surface
        """OpenAI's shape."""
        return dict(error.document())
