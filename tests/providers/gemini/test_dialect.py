"""Gemini's dialect: where calls go, with which headers; what Google's refusals mean."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.errors import GatewayError, Outcome
from app.exchange import Operation
from app.providers.counts import CountDecoder
from app.providers.gemini.dialect import Gemini
from app.providers.gemini.embeddings import EmbeddingsDecoder
from app.providers.gemini.stream import GeminiDecoder
from tests.pipeline.parts import call, deployment

TO = deployment("two", provider="gemini", model="models/gemini-x")


def error(status: int, message: str, details: list[Any] | None = None, **headers: str) -> GatewayError:
    """What Google's error means."""
    body = {"error": {"code": status, "message": message, "status": "WORD", "details": details or []}}
    return Gemini().error(status, headers, orjson.dumps(body), TO)


@pytest.mark.parametrize(
    ("operation", "fields", "path"),
    [
        (Operation.CHAT, {}, "/models/gemini-x:generateContent"),
        (Operation.CHAT, {"stream": True}, "/models/gemini-x:streamGenerateContent?alt=sse"),
        (Operation.EMBEDDINGS, {}, "/models/gemini-x:batchEmbedContents"),
        (Operation.TOKENIZE, {}, "/models/gemini-x:countTokens"),
    ],
)
def test_where_calls_go(operation: Operation, fields: dict[str, Any], path: str) -> None:
    """The model stands in the path."""
    assert Gemini().encode(call(operation, **fields), TO, "req_1").path == path


def test_what_it_does_not_have() -> None:
    """Is refused; the model is to blame."""
    for operation in (Operation.COMPLETION, Operation.RERANK, Operation.SCORE):
        with pytest.raises(GatewayError) as refused:
            Gemini().encode(call(operation), TO, "req_1")
        assert refused.value.param == "model"


def test_a_models_name_cannot_leave_its_place() -> None:
    """Whatever it holds is quoted."""
    odd = deployment("two", provider="gemini", model="a/../b?c#d")
    assert Gemini().encode(call(), odd, "req_1").path == "/models/a%2F..%2Fb%3Fc%23d:generateContent"


def test_headers_and_decoders() -> None:
    """The key in Google's header, our id."""
    assert dict(Gemini().headers(TO, "req_1")) == {
        "content-type": "application/json", "x-request-id": "req_1", "x-goog-api-key": "sk-openai-0123456789",
    }  # fmt: skip
    kinds = {Operation.CHAT: GeminiDecoder, Operation.EMBEDDINGS: EmbeddingsDecoder, Operation.TOKENIZE: CountDecoder}
    for operation, kind in kinds.items():
        assert isinstance(Gemini().decoder(call(operation)), kind)


def test_refusals() -> None:
    """Its 4xx keep status and message; a wrong key, a 400 there, is the operator's to mend."""
    kept = error(400, "no")
    assert (kept.status, kept.message, kept.error_type, kept.code_name) == (400, "no", "WORD", "invalid_request")
    wrong = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
    assert error(400, "API key not valid.", wrong).code_name == "upstream_error"
    long = error(400, "The input token count (200) exceeds the maximum number of tokens allowed (100).")
    assert (long.code_name, long.outcome) == ("context_length_exceeded", Outcome.UPSTREAM_REJECTED)
    for body in (b"<html>", b"[]", b"7", b'{"error": "x"}'):
        assert Gemini().error(503, {}, body, TO).code_name == "overloaded"


def test_the_delay_stands_in_the_body() -> None:
    """A header has the last word."""
    delay = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}]
    assert error(429, "slow down", delay).retry_after == 34.5
    assert error(429, "slow down", delay, **{"retry-after": "3"}).retry_after == 3
    assert error(429, "slow down", [{"@type": "x.RetryInfo", "retryDelay": "soon"}]).retry_after == 1
    wrapped = orjson.dumps([{"error": {"code": 429, "message": "m", "details": delay}}])
    assert Gemini().error(429, {}, wrapped, TO).retry_after == 34.5
