"""Anthropic's dialect: where calls go, with which headers; what refusals mean."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.errors import GatewayError, Outcome
from app.exchange import Operation
from app.providers.anthropic.dialect import Anthropic
from app.providers.anthropic.stream import AnthropicDecoder
from app.providers.counts import CountDecoder
from tests.pipeline.parts import call, deployment

TO = deployment("two", provider="anthropic")


def error(status: int, kind: str, message: str, **headers: str) -> GatewayError:
    """What Anthropic's error means."""
    body = orjson.dumps({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_x"})
    return Anthropic().error(status, headers, body, TO)


def test_where_calls_go() -> None:
    """Chat and counting; the rest it does not have."""
    sent = Anthropic().encode(call(stream=True), TO, "req_1")
    assert (sent.method, sent.path, sent.stream, sent.from_root) == ("POST", "/messages", True, False)
    counted = call()._replace(operation=Operation.TOKENIZE)
    assert Anthropic().encode(counted, TO, "req_1").path == "/messages/count_tokens"
    for operation in (Operation.COMPLETION, Operation.EMBEDDINGS):
        with pytest.raises(GatewayError) as refused:
            Anthropic().encode(call(operation), TO, "req_1")
        assert refused.value.param == "model"


def test_headers() -> None:
    """Version, key, id; the deployment may say another version, each header stands once."""
    headers = dict(Anthropic().headers(TO, "req_1"))
    assert headers == {
        "content-type": "application/json", "x-request-id": "req_1", "anthropic-version": "2023-06-01",
        "x-api-key": "sk-openai-0123456789",
    }  # fmt: skip
    own = {"anthropic-version": "2027-01-01", "anthropic-beta": "x"}
    named = Anthropic().headers(deployment("two", provider="anthropic", headers=own), "req_1")
    assert len(named) == len(dict(named))
    assert dict(named)["anthropic-version"] == "2027-01-01"


def test_decoders() -> None:
    """By operation."""
    assert isinstance(Anthropic().decoder(call()), AnthropicDecoder)
    assert isinstance(Anthropic().decoder(call()._replace(operation=Operation.TOKENIZE)), CountDecoder)


@pytest.mark.parametrize(
    ("status", "kind", "code", "outcome"),
    [
        (400, "invalid_request_error", "invalid_request", Outcome.UPSTREAM_REJECTED),
        (401, "authentication_error", "upstream_error", Outcome.UPSTREAM_ERROR),
        (403, "permission_error", "upstream_error", Outcome.UPSTREAM_ERROR),
        (404, "not_found_error", "invalid_request", Outcome.UPSTREAM_REJECTED),
        (413, "request_too_large", "invalid_request", Outcome.UPSTREAM_REJECTED),
        (429, "rate_limit_error", "rate_limit_exceeded", Outcome.UPSTREAM_ERROR),
        (500, "api_error", "upstream_error", Outcome.UPSTREAM_ERROR),
        (529, "overloaded_error", "overloaded", Outcome.UPSTREAM_ERROR),
    ],
)
def test_refusals(status: int, kind: str, code: str, outcome: Outcome) -> None:
    """In the contract's codes; its 4xx keeps status and message."""
    found = error(status, kind, "because")
    assert (found.code_name, found.outcome) == (code, outcome)
    if outcome is Outcome.UPSTREAM_REJECTED:
        assert (found.status, found.message, found.error_type) == (status, "because", kind)


def test_retry_after_is_kept() -> None:
    """Of a rate limit, and of an overload."""
    after: dict[str, Any] = {"retry-after": "17"}
    assert error(429, "rate_limit_error", "slow down", **after).retry_after == 17
    assert error(529, "overloaded_error", "Overloaded", **after).retry_after == 17


def test_a_prompt_that_is_too_long_has_its_own_code() -> None:
    """Whoever routes by it need not read prose."""
    found = error(400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum")
    assert (found.code_name, found.status, found.outcome) == (
        "context_length_exceeded", 400, Outcome.UPSTREAM_REJECTED,
    )  # fmt: skip
    assert "210000" in found.message
