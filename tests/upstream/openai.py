"""The OpenAI dialect: chat completions, completions and embeddings, as vLLM and as OpenAI's API speak it."""

from __future__ import annotations

from tests.upstream import openai_errors, openai_read, openai_stream, openai_whole
from tests.upstream.dialect import Answer, Ask, Refused, Step
from tests.upstream.state import Settings
from tests.upstream.wire import Exchange

PATHS = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings"})


class OpenAI:
    """See `dialect.Dialect`."""

    name = "openai"
    credentials = frozenset({b"authorization"})
    named = False

    def claims(self, method: str, path: str) -> bool:
        """POST to one of the three paths."""
        return method == "POST" and path in PATHS

    def read(self, exchange: Exchange, settings: Settings, now: float) -> Ask:
        """Parse and validate."""
        return openai_read.read(exchange, settings, now)

    def identify(self, ask: Ask, exchange: Exchange, now: float) -> None:
        """New id, new time."""
        openai_read.identify(ask, exchange, now)

    def whole(self, ask: Ask, answer: Answer) -> bytes:
        """One JSON object."""
        return openai_whole.body(ask, answer)

    def steps(self, ask: Ask, answer: Answer) -> list[Step]:
        """Chunks."""
        return openai_stream.steps(ask, answer)

    def error(self, status: int, refused: Refused, *, openai: bool) -> bytes:
        """An error body."""
        return openai_errors.body(status, refused, as_openai=openai)

    def error_event(self, status: int, message: str, *, openai: bool) -> bytes:
        """An error chunk."""
        return openai_errors.event(status, message, as_openai=openai)

    def last_event(self) -> bytes | None:
        """`[DONE]`."""
        return b"[DONE]"
