"""What all decoders have that translate: nothing of what they read goes to a caller unread."""

from __future__ import annotations

from app.exchange import Event, Usage


class Reader:
    """The parts of `pipeline.call.Decoder` that do not depend on a provider."""

    __slots__ = ("failure", "finished", "glanced", "usage")

    def __init__(self) -> None:
        self.finished = False
        self.failure: Event | None = None
        self.glanced = 0
        self.usage: Usage | None = None

    def glance(self, piece: bytes) -> bytes:  # noqa: ARG002  # as every decoder
        """Nothing: what is translated has to be read."""
        return b""
