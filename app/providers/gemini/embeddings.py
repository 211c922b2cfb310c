"""Embeddings as Gemini's `batchEmbedContents`."""

from __future__ import annotations

import base64
from array import array
from typing import Any

import orjson

from app.exchange import Batch, Call, Event, JsonObject
from app.providers.asked import Asked
from app.providers.gemini.answer import error_status, usage_of
from app.providers.reader import Reader
from app.table import Deployment


def encode(call: Call, deployment: Deployment) -> JsonObject:
    """The body. Raises `GatewayError` for what Gemini cannot do."""
    asked = Asked(call, deployment)
    given = asked.take("input")
    texts = [given] if type(given) is str else given
    if not all(type(text) is str for text in texts):
        raise asked.cannot("input", "it takes texts, not numbers of tokens")
    if asked.take("encoding_format") not in (None, "float", "base64"):
        raise asked.cannot("encoding_format", "it must be `float` or `base64`")
    size = asked.integer("dimensions", 1)
    common = asked.rest() | ({} if size is None else {"outputDimensionality": size})
    model = f"models/{deployment.model.removeprefix('models/')}"
    return {"requests": [{"model": model, "content": {"parts": [{"text": text}]}, **common} for text in texts]}


class EmbeddingsDecoder(Reader):
    """Reads the vectors."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        super().__init__()
        self._call = call

    def feed(self, piece: bytes) -> Batch:  # noqa: ARG002  # as every decoder
        """Nobody streams vectors. Raises `ValueError`."""
        raise ValueError("vectors are no stream")

    def body(self, data: bytes) -> Batch:
        """The vectors in OpenAI's shape. Raises `ValueError` when there are none."""
        doc = orjson.loads(data)
        if type(doc) is dict and "error" in doc:
            self.failure = Event(data, doc, error=error_status(doc["error"]))
            return []
        try:
            vectors = [self._vector(one["values"]) for one in doc["embeddings"]]
        except (TypeError, KeyError) as error:
            raise ValueError("the answer holds no embeddings") from error
        usage = usage_of(doc.get("usageMetadata"))
        made: JsonObject = {
            "object": "list",
            "data": [{"object": "embedding", "index": place, "embedding": one} for place, one in enumerate(vectors)],
            "model": self._call.model,
        }
        if usage is not None:
            made["usage"] = {"prompt_tokens": usage.input_tokens, "total_tokens": usage.input_tokens}
        self.finished = True
        return [Event(orjson.dumps(made), made, usage=usage)]

    def _vector(self, values: Any) -> Any:
        """As numbers, or packed as the OpenAI SDK asks for them by default. Raises `TypeError` where it is none."""
        if type(values) is not list:
            raise TypeError("a vector is no array")
        if self._call.body.get("encoding_format") != "base64":
            return values
        return base64.b64encode(array("f", values).tobytes()).decode()
