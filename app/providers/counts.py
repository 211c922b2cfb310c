"""Answers that are a number of tokens, as vLLM's `/tokenize` gives it: `{"count": ...}`. Counting costs nothing."""

from __future__ import annotations

import orjson

from app.exchange import Batch, Event, Usage
from app.providers.reader import Reader

FREE = Usage(0, 0)


class CountDecoder(Reader):
    """Reads the answer whose field `name` holds the number."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

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
