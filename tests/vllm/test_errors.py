"""What vLLM refuses reaches the caller in vLLM's words, in OpenAI's shape, as the SDK's own exceptions."""

from __future__ import annotations

from typing import Any

import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from tests.support.vllm import Front

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

HELLO = [{"role": "user", "content": "Hello"}]
TOO_LONG = [{"role": "user", "content": "word " * 2100}]
BROKEN_SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 1}}}
PICTURE = [
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]}
]

REFUSED: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "a temperature that is no number": ({"temperature": "hot"}, "valid number", "body.temperature"),
    "a temperature below zero": ({"temperature": -1}, "must be non-negative", "temperature"),
    "a token outside the vocabulary": ({"logit_bias": {"999999": 5}}, "out-of-vocab", "logit_bias"),
    "a tool without function": ({"tools": [{"type": "function"}]}, "Field required", "body.tools.0.function"),
    "a schema that is none": ({"response_format": BROKEN_SCHEMA}, "Grammar error", None),
    "a picture for a model of text": ({"messages": PICTURE}, "not a multimodal model", None),
}


def create(client: OpenAI, **fields: Any) -> None:
    """Send a chat and read its answer to the end."""
    asked: dict[str, Any] = {"model": "chat", "messages": HELLO, "max_tokens": 4} | fields
    answer: Any = client.chat.completions.create(**asked)
    if fields.get("stream"):
        list(answer)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_request(client: OpenAI, front: Front, case: str, *, stream: bool) -> None:
    """400 before any stream begins, with vLLM's message and `param`; nothing is charged."""
    fields, message, param = REFUSED[case]
    with pytest.raises(BadRequestError) as refused:
        create(client, **fields, stream=stream)
    assert message in refused.value.message
    assert refused.value.param == param
    line = front.line(str(refused.value.request_id))
    assert (line["outcome"], line["cost_usd"]) == ("upstream_rejected", 0)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_prompt_over_the_context(client: OpenAI, front: Front, *, stream: bool) -> None:
    """The gateway refuses it, with the numbers: vLLM counts it, and is asked for no answer."""
    with pytest.raises(BadRequestError, match="maximum context length is 2048 tokens") as refused:
        create(client, messages=TOO_LONG, stream=stream)
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "messages")
    line = front.line(str(refused.value.request_id))
    assert (line["outcome"], line["attempts"]) == ("refused_invalid", 0)
    assert "cost_usd" not in line  # nothing was sent


def test_an_answer_over_the_context(client: OpenAI, front: Front) -> None:
    """Its cap is lowered to the deployment's: vLLM would refuse 5000 tokens."""
    answer = client.chat.completions.with_raw_response.create(
        model="chat", messages=[{"role": "user", "content": "Say: yes"}], max_tokens=5000, temperature=0
    )
    assert answer.parse().choices[0].message.content
    assert front.line(str(answer.headers["x-request-id"]))["outcome"] == "ok"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_model_that_the_upstream_does_not_have(client: OpenAI, front: Front, *, stream: bool) -> None:
    """404 with vLLM's message."""
    with pytest.raises(NotFoundError, match="does not exist") as refused:
        create(client, model="ghost", stream=stream)
    assert refused.value.param == "model"
    assert front.line(str(refused.value.request_id))["outcome"] == "upstream_rejected"


def test_a_model_that_the_gateway_does_not_have(client: OpenAI, front: Front) -> None:
    """404 with the gateway's own code; vLLM is not asked."""
    with pytest.raises(NotFoundError) as refused:
        create(client, model="nobody-knows-it")
    assert refused.value.code == "model_not_found"
    assert front.line(str(refused.value.request_id))["attempts"] == 0


def test_what_the_engine_cannot_do(client: OpenAI) -> None:
    """A server of a chat model has no embeddings at all: its 404 is passed on."""
    with pytest.raises(NotFoundError):
        client.embeddings.create(model="chat", input="Hello")


def test_nothing_is_told_about_the_upstream(client: OpenAI) -> None:
    """No refusal names the upstream's address."""
    with pytest.raises(BadRequestError) as refused:
        create(client, temperature=-1)
    answer = refused.value.response
    assert "127.0.0.1" not in answer.text + str(answer.headers)
