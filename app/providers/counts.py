"""Answers that are a number of tokens, as vLLM's `/tokenize` gives it: `{"count": ...}`. Counting costs nothing."""

from __future__ import annotations

import orjson

from app.exchange import Batch, Event, Usage

FREE = Usage(0, 0)


class CountDecoder:
    """Reads the answer whose field `name` holds the number."""

    __slots__ = ("_name", "failure", "finished")

    def __init__(self, name: str) -> None:
        self._name = name
        self.finished = False
        self.failure: Event | None = None

    def feed(self, piece: bytes) -> Batch:  # noqa: ARG002  # as every decoder
        """Nobody streams a number. Raises `ValueError`."""
        raise ValueError("a number of tokens is no stream")

    def body(self, data: bytes) -> Batch:
        """The number. Raises `ValueError` when there is none."""
        doc = orjson.loads(data)
        count = doc.get(self._name) if type(doc) is dict else None
        if type(count) is not int:
            raise ValueError("the answer holds no number of tokens")
        made = {"count": count, "max_model_len": None, "tokens": None, "token_strs": None}
        self.finished = True
        return [Event(orjson.dumps(made), made, usage=FREE)]
