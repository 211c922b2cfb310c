"""What surfaces in other shapes than OpenAI's share: they read an answer's chunks, and tell what these hold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import orjson

from app.api.surface import MALFORMED, malformed, string
from app.errors import UPSTREAM_ERROR, GatewayError
from app.exchange import Batch, Event, JsonObject, Usage
from app.pipeline.progress import Progress


class ChunkWriter(ABC):
    """Reads the first choice of a chat completion; a shape says what its own callers hear of it.

    Pieces of an answer follow each other: a new kind of content, or another tool call, ends the one before. `_kind`
    names the one that is open, empty where none is; `_ending` is the choice that had the finish reason. What was told
    of a batch before a chunk that means nothing is `_left`: it goes out before the error.
    """

    __slots__ = ("_calls", "_ending", "_kind", "_left", "_progress", "_usage")

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._kind = ""
        self._calls = -1
        self._ending: JsonObject = {}
        self._usage: Usage | None = None
        self._left: list[bytes] = []

    def whole(self, event: Event) -> bytes:
        """The body of an answer that is not streamed. Raises `GatewayError` where it is none."""
        try:
            return orjson.dumps(self._whole(event))
        except MALFORMED as error:
            raise malformed() from error

    def events(self, batch: Batch) -> bytes:
        """The events that these chunks mean. Raises `GatewayError` where one means nothing: then comes the `end`."""
        out: list[bytes] = []
        try:
            for event in batch:
                self._chunk(event, out)
        except MALFORMED as error:
            self._left = out
            raise malformed() from error
        except GatewayError:
            self._left = out
            raise
        return b"".join(out)

    def end(self, error: GatewayError | None) -> bytes:
        """The end of a stream that has begun: the last events, or the error that broke it off."""
        return b"".join([*self._left, *self._last(error)])

    def _chunk(self, event: Event, out: list[bytes]) -> None:
        if event.usage is not None:
            self._usage = event.usage
        self._begin(event.doc, out)
        for choice in event.doc.get("choices") or ():
            if choice.get("index"):
                continue
            if choice.get("finish_reason"):
                string(choice["finish_reason"])
                self._ending = choice
            delta = choice.get("delta")
            if delta:
                self._take(delta, choice, out)

    def _fresh(self, call: JsonObject, kind: str) -> bool:
        """Whether a piece of a tool call begins another one; `kind` is what is open while calls are told."""
        number = call.get("index", 0)
        if type(number) is not int:
            raise TypeError("a tool call's index is no whole number")
        if number > self._calls:
            self._calls = number
            return True
        if number < self._calls or self._kind != kind:
            raise GatewayError(UPSTREAM_ERROR, "The upstream went back to a tool call that had ended.")
        return False

    @abstractmethod
    def _whole(self, event: Event) -> JsonObject:
        """The whole answer in this shape."""

    @abstractmethod
    def _last(self, error: GatewayError | None) -> list[bytes]:
        """The last events."""

    @abstractmethod
    def _begin(self, doc: JsonObject, out: list[bytes]) -> Any:
        """Tell that an answer begins, unless that was told; `doc` is its first chunk."""

    @abstractmethod
    def _take(self, delta: JsonObject, choice: JsonObject, out: list[bytes]) -> None:
        """Tell what a delta of the choice adds."""
