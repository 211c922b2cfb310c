"""Embeddings of Gemini in OpenAI's shape, numbers or packed."""

from __future__ import annotations

import base64
import struct

import orjson
import pytest

from app.errors import GatewayError
from app.exchange import Operation, Usage
from app.providers.gemini.embeddings import EmbeddingsDecoder, encode
from tests.pipeline.parts import call, deployment

TO = deployment("two", provider="gemini", model="gemini-embedding-001")
ANSWER = orjson.dumps({"embeddings": [{"values": [0.5, -1.0]}, {"values": [0.25, 2.0]}]})


def test_requests() -> None:
    """One per text, with the size that was asked for."""
    body = encode(call(Operation.EMBEDDINGS, input=["a", "b"], dimensions=2), TO)
    assert body["requests"] == [
        {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": text}]}, "outputDimensionality": 2}
        for text in "ab"
    ]
    assert len(encode(call(Operation.EMBEDDINGS, input="a"), TO)["requests"]) == 1


@pytest.mark.parametrize(("name", "value"), [("input", [1, 2]), ("encoding_format", "int8"), ("dimensions", 0)])
def test_what_it_cannot_do(name: str, value: object) -> None:
    """Is named."""
    fields = {"input": "a", name: value}
    with pytest.raises(GatewayError) as refused:
        encode(call(Operation.EMBEDDINGS, **fields), TO)
    assert refused.value.param == name


def test_answers() -> None:
    """As numbers, or as base64 of 32-bit floats; usage where it is reported."""
    (event,) = EmbeddingsDecoder(call(Operation.EMBEDDINGS, input=["a", "b"])).body(ANSWER)
    assert [one["embedding"] for one in event.doc["data"]] == [[0.5, -1.0], [0.25, 2.0]]
    assert event.usage is None
    reported = ANSWER[:-1] + b',"usageMetadata":{"promptTokenCount":3}}'
    (event,) = EmbeddingsDecoder(call(Operation.EMBEDDINGS, encoding_format="base64")).body(reported)
    packed = base64.b64decode(event.doc["data"][0]["embedding"])
    assert (struct.unpack("<2f", packed), event.usage) == ((0.5, -1.0), Usage(3, 0))


def test_what_is_no_answer() -> None:
    """An error, or nothing of the kind; vectors are never streamed."""
    decoder = EmbeddingsDecoder(call(Operation.EMBEDDINGS))
    assert decoder.body(b'{"error": {"code": 429}}') == []
    assert decoder.failure is not None
    for wrong in (b"{}", b"[]", b'{"embeddings": [7]}'):
        with pytest.raises(ValueError, match="no embeddings"):
            EmbeddingsDecoder(call(Operation.EMBEDDINGS)).body(wrong)
    with pytest.raises(ValueError, match="stream"):
        decoder.feed(b"x")
