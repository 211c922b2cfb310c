"""The fake answers as the real thing did: each recorded vLLM request is sent to it, and the answers compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.support.upstream import Upstream
from tests.support.vendor import unknown
from tests.upstream.client import Client, body

RECORDED = Path(__file__).parents[1] / "fixtures" / "vllm"
WHOLE = [
    "chat", "chat-length", "chat-logprobs", "chat-n2", "chat-request-id", "chat-without-model", "chat-tools-named",
    "chat-tools-required", "completion", "completion-n2", "completion-two-prompts", "completion-token-ids",
    "embedding", "embedding-list", "embedding-base64", "embedding-token-ids", "models", "version", "tokenize", "health",
]  # fmt: skip
STREAMS = [
    "chat-stream", "chat-stream-usage", "chat-stream-length", "chat-stream-n2", "chat-stream-usage-each",
    "chat-stream-logprobs", "chat-stream-tools-named", "completion-stream-usage",
]  # fmt: skip
SAME_SEQUENCE = ["chat-stream-usage", "chat-stream-length", "chat-stream-usage-each", "chat-stream-logprobs"]
ERRORS = {
    "error-unknown-model": "nope", "error-unknown-model-stream": "nope", "error-bad-json": "echo",
    "error-array-body": "echo",
    "error-no-messages": "echo", "error-method": "echo", "error-no-such-path": "echo", "error-n-zero": "echo",
    "error-max-tokens-over-context": "context-2048", "error-prompt-over-context": "context-2048",
    "error-temperature-range": "echo", "error-temperature-type": "echo",
    "error-prompt-over-context-stream": "context-2048",
}  # fmt: skip


def recorded(name: str) -> dict[str, Any]:
    """A request to vLLM and its answer."""
    found: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
    return found


def shape(value: Any) -> Any:
    """Keys in their order and kinds of values; what may be null counts as null's kind `?`."""
    if isinstance(value, dict):
        return [(key, shape(inner)) for key, inner in value.items()]
    if isinstance(value, list):
        return [shape(value[0])] if value and isinstance(value[0], dict) else "list"
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def same(ours: Any, theirs: Any) -> bool:
    """Whether two shapes agree; null agrees with everything, since what is null depends on the text."""
    if "NoneType" in (ours, theirs):
        return True
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(same(a, b) for a, b in zip(ours, theirs, strict=True))
    if isinstance(ours, tuple) and isinstance(theirs, tuple):
        return bool(ours[0] == theirs[0]) and same(ours[1], theirs[1])
    return bool(ours == theirs)


def ask(client: Client, upstream: Upstream, case: dict[str, Any], spec: str) -> Any:
    """Send a recorded request, its model behaving as `spec`."""
    upstream.set(aliases={"smollm2": spec, "minilm": spec, "smollm2-24l": spec})
    sent = case["request"]
    headers = {key: value for key, value in sent["headers"].items() if key != "content-type"}
    doc = sent["body"].encode() if isinstance(sent["body"], str) else sent["body"]
    return client.request(sent["method"], sent["path"], doc, **headers)


def events(text: str) -> list[Any]:
    """The JSON objects of a stream."""
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def collapsed(docs: list[Any]) -> list[Any]:
    """The shapes of a stream's chunks, runs of the same shape as one."""
    shapes = [shape(doc) for doc in docs]
    return [each for k, each in enumerate(shapes) if k == 0 or not same(each, shapes[k - 1])]


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_answer_has_the_recorded_shape(client: Client, upstream: Upstream, name: str) -> None:
    """Status, headers, keys in their order, kinds of values."""
    upstream.set(allow=["no_model"])
    case = recorded(name)
    reply = ask(client, upstream, case, "answer-9")
    theirs = case["response"]
    assert reply.status == theirs["status"]
    assert set(reply.headers) - {"content-length"} == {key for key, _ in theirs["headers"]} - {
        "content-length",
        "x-request-id",
    }
    if theirs["body"]:
        assert same(shape(reply.doc), shape(json.loads(theirs["body"]))), reply.body
    else:
        assert reply.body == b""


@pytest.mark.parametrize("name", STREAMS)
def test_every_chunk_has_a_shape_that_was_recorded(client: Client, upstream: Upstream, name: str) -> None:
    """No chunk is of our own invention."""
    case = recorded(name)
    known = [
        shape(doc) for each in STREAMS for doc in events("".join(t for _, t in recorded(each)["response"]["chunks"]))
    ]
    reply = ask(client, upstream, case, "answer-9")
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reply.body.endswith(b"data: [DONE]\n\n")
    for doc in events(reply.body.decode()):
        assert any(same(shape(doc), each) for each in known), doc


@pytest.mark.parametrize("name", SAME_SEQUENCE)
def test_chunks_follow_each_other_as_recorded(client: Client, upstream: Upstream, name: str) -> None:
    """Role first, then tokens, the finish where it was, the usage last."""
    case = recorded(name)
    reply = ask(client, upstream, case, "answer-64" if "length" in json.dumps(case["response"]) else "answer-5")
    ours, theirs = events(reply.body.decode()), events("".join(text for _, text in case["response"]["chunks"]))
    first, second = collapsed(ours), collapsed(theirs)
    assert len(first) == len(second), (ours, theirs)
    assert all(same(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_the_recorded_one(client: Client, upstream: Upstream, name: str) -> None:
    """Status, type, param and code as recorded; the message begins alike."""
    upstream.set(allow=["bad_json", "no_messages"])
    case = recorded(name)
    reply = ask(client, upstream, case, ERRORS[name])
    theirs = json.loads(case["response"]["body"])
    assert reply.status == case["response"]["status"]
    if "error" not in theirs:
        assert reply.doc == theirs
        return
    ours, wanted = reply.doc["error"], theirs["error"]
    assert {**ours, "message": ""} == {**wanted, "message": ""}
    assert ours["message"][:24] == wanted["message"][:24]


def test_an_unauthorised_request_gets_the_bare_word(client: Client, upstream: Upstream) -> None:
    """401 is `{"error": "Unauthorized"}`; `/tokenize` stays open."""
    upstream.set(api_key="sekret")
    refused = client.chat("echo")
    assert (refused.status, refused.doc) == (401, json.loads(recorded("error-wrong-key")["response"]["body"]))
    assert client.request("POST", "/tokenize", {"model": "echo", "prompt": "a b"}).status == 200
    assert client.request("POST", "/v1/chat/completions", body("echo"), authorization="Bearer sekret").status == 200


@pytest.mark.parametrize("name", [name for name in WHOLE + STREAMS if name.startswith(("chat", "completion"))])
def test_what_was_recorded_is_what_the_sdk_s_own_types_say(name: str) -> None:
    """vLLM's answers and chunks with nothing missing and nothing wrong; what vLLM adds is known here by name."""
    found = recorded(name)["response"]
    docs = events("".join(text for _, text in found["chunks"])) if name in STREAMS else [json.loads(found["body"])]
    chat = name.startswith("chat")
    for doc in docs:
        if not chat:  # their chunks are of the same type, which denies that `finish_reason` may be null
            doc["choices"] = [{**one, "finish_reason": one["finish_reason"] or "stop"} for one in doc["choices"]]
        kind: Any = (ChatCompletionChunk if name in STREAMS else ChatCompletion) if chat else Completion
        assert set(unknown(kind.model_validate(doc))) <= ADDED


ADDED = {
    *("ec_transfer_params", "kv_transfer_params", "metrics", "prompt_logprobs", "prompt_text", "prompt_token_ids"),
    *("reasoning", "routed_experts", "service_tier", "stop_reason", "token_ids"),
}
"""What vLLM says beside OpenAI's fields."""


@pytest.mark.parametrize("spec", ["answer-5", "tool-call-2", "refusal", "reasoning-3+answer-2", "answer-3+openai"])
def test_the_sdk_s_own_types_accept_every_answer(client: Client, spec: str) -> None:
    """Validated strictly, field by field, streamed and not."""
    whole = client.chat(spec, logprobs=True, top_logprobs=2).doc
    assert ChatCompletion.model_validate(whole).model_dump(exclude_unset=True) == whole
    for doc in client.stream(spec, stream_options={"include_usage": True}).docs:
        assert ChatCompletionChunk.model_validate(doc).model_dump(exclude_unset=True) == doc


def test_openai_s_flavour_differs_where_openai_does(client: Client) -> None:
    """No vLLM extras, usage null in every chunk but the last, code is a word, and OpenAI's headers come along."""
    whole = client.chat("answer-2+openai")
    assert "prompt_logprobs" not in whole.doc
    assert "stop_reason" not in whole.doc["choices"][0]
    assert whole.headers["x-ratelimit-remaining-requests"] == "9999"
    docs = client.stream("answer-2+openai", stream_options={"include_usage": True}).docs
    assert [doc["usage"] for doc in docs[:-1]] == [None] * 4
    assert docs[-1]["usage"]["completion_tokens"] == 2
    assert client.chat("fail-429+openai").doc["error"]["code"] == "rate_limit_exceeded"
    assert client.chat("fail-401+openai").doc["error"]["code"] == "invalid_api_key"


def test_an_embedding_is_what_the_sdk_expects(client: Client) -> None:
    """A unit vector that depends on the text alone."""
    doc = client.request("POST", "/v1/embeddings", {"model": "dims-8", "input": ["a b", "c", "a b"]}).doc
    found = CreateEmbeddingResponse.model_validate(doc)
    assert found.data[0].embedding == found.data[2].embedding != found.data[1].embedding
    assert sum(x * x for x in found.data[0].embedding) == pytest.approx(1)
    assert found.usage.prompt_tokens == 5
