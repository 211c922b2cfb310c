"""The data plane over real sockets: callers who leave, bad bodies, what an answer says about itself."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from typing import Any

import openai
import orjson
import pytest
from openai.types.chat import ChatCompletionFunctionToolParam, ChatCompletionUserMessageParam
from openai.types.shared_params import FunctionDefinition

from tests.support.gateway import KEY, LIMITED_KEY, Gateway, one_each
from tests.support.sockets import chat_request, connect, exchange, read_until
from tests.support.upstream import Upstream

GO: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "go"}]
STREAM, WHOLE = "answer-200+pace-20ms", "answer-200+slow-5s"
BEHAVIOURS = [
    STREAM, WHOLE, "hangs", "no-usage+answer-5", "answer-5+cached-4", "tool-call", "answer-3+ttft-300ms",
    "error-event-after-3", "dies-after-3+answer-9", "bad-json-3+answer-9", "no-done+no-finish+answer-4",
    "fail-400", "fail-404", "fail-401", "fail-500", "html", "bad-json", "empty-body", "error-event-first-400",
    "bad-json-0", "empty-stream", "rate-limited-7", "truncated", "big-256k", "reasoning-4+answer-3",
]  # fmt: skip


@pytest.fixture(scope="module")
def gateway(upstream_process: Upstream) -> Iterator[Gateway]:
    """One gateway with a model per behaviour."""
    with Gateway(one_each(upstream_process.url, BEHAVIOURS)) as running:
        yield running


@pytest.fixture(autouse=True)
def sums(gateway: Gateway, upstream: Upstream) -> Iterator[None]:
    """Every request has one outcome and one access line, whatever a test did."""
    before = sum(gateway.outcomes().values()), len(gateway.lines())
    yield
    upstream.wait(lambda stats: stats["running"] == 0)
    gateway.until(lambda: sum(gateway.outcomes().values()) - before[0] == len(gateway.lines()) - before[1])


# The two facts about the framework that cost others their bills come first.


def test_caller_who_leaves_a_stream_is_settled(gateway: Gateway, upstream: Upstream) -> None:
    """A stream's upstream is cancelled within 100 ms; what was counted is charged, and the allowance."""
    before = len(gateway.lines())
    with connect(gateway.url) as connection:
        connection.sendall(chat_request(STREAM, stream=True))
        data = b""
        while data.count(b'"content":') < 5:
            data += connection.recv(65536)
        left = time.monotonic()
    line = gateway.lines(before + 1)[-1]
    upstream.wait(lambda stats: stats["running"] == 0)
    seen = upstream.find(line["request_id"])
    assert seen["gone"] - left < 0.1
    assert line["outcome"] == "client_closed"
    assert line["usage"] == "at_least"
    assert seen["made"] <= line["output_tokens"] <= seen["made"] + 16


@pytest.mark.parametrize(("model", "words"), [(WHOLE, 3), ("hangs", 3), ("hangs", 15_000), ("hangs", 50_000)])
def test_caller_who_leaves_a_whole_answer_is_settled(
    gateway: Gateway, upstream: Upstream, model: str, words: int
) -> None:
    """Without a stream, and behind a long prompt, cancelled just as fast; the request is charged at its bound."""
    before = len(gateway.lines())
    with connect(gateway.url) as connection:
        connection.sendall(chat_request(model, stream=False, text="word " * words))
        upstream.wait(lambda stats: stats["running"] == 1)
        left = time.monotonic()
    line = gateway.lines(before + 1)[-1]
    upstream.wait(lambda stats: stats["running"] == 0)
    seen = upstream.find(line["request_id"])
    assert seen["gone"] - left < 0.1
    assert (line["outcome"], line["usage"], line["output_tokens"]) == ("client_closed", "bound", 512)


def test_caller_who_resets_while_waiting_for_the_first_token(gateway: Gateway, upstream: Upstream) -> None:
    """A reset before the first byte of a stream cancels too, and is charged the allowance."""
    before = len(gateway.lines())
    connection = connect(gateway.url)
    connection.sendall(chat_request("hangs", stream=True))
    upstream.wait(lambda stats: stats["running"] == 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()
    line = gateway.lines(before + 1)[-1]
    assert (line["outcome"], line["usage"], line["output_tokens"]) == ("client_closed", "at_least", 16)


def test_half_a_body_and_gone(gateway: Gateway, upstream: Upstream) -> None:
    """A caller who leaves inside its own body never reaches an upstream."""
    before = len(gateway.lines())
    with connect(gateway.url) as connection:
        connection.sendall(chat_request("echo", stream=False)[:-10])
        time.sleep(0.05)
    assert gateway.lines(before + 1)[-1]["outcome"] == "client_closed"
    assert upstream.stats()["requests"] == 0


def test_slow_reader_holds_back_the_upstream(gateway: Gateway, upstream: Upstream) -> None:
    """Whoever does not read gets no more than buffers hold, and leaving is noticed all the same."""
    before = len(gateway.lines())
    with connect(gateway.url) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(chat_request("big-256k", stream=True, text="x"))
        read_until(connection, b"\r\n\r\n")
    assert gateway.lines(before + 1)[-1]["outcome"] in {"client_closed", "ok"}


def test_answer_tells_where_it_came_from(gateway: Gateway, upstream: Upstream) -> None:
    """Request id, deployment, arm and the gateway's own time stand in the headers; the id reaches the upstream."""
    response = gateway.chat()
    assert response.headers["x-sluicegate-deployment"] == "to-echo"
    assert response.headers["x-sluicegate-arm"] == "stable"
    assert response.headers["server-timing"].startswith("gateway;dur=")
    assert upstream.find(response.headers["x-request-id"])["complete"]


def test_whole_answer_goes_through_untouched(gateway: Gateway) -> None:
    """The body is the upstream's, and its usage is what is charged."""
    response = gateway.chat("answer-5+cached-4", text="one two three four five")
    line = gateway.line(response)
    usage = response.json()["usage"]
    assert (line["input_tokens"], line["output_tokens"]) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert line["usage"] == "exact"
    assert line["cost_usd"] == pytest.approx((usage["prompt_tokens"] * 0.5 + usage["completion_tokens"] * 1.5) / 1e6)


@pytest.mark.parametrize("asked", [True, False])
def test_usage_is_hidden_unless_asked_for(gateway: Gateway, upstream: Upstream, *, asked: bool) -> None:
    """The gateway always asks the upstream for usage; the caller sees it if it asked."""
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if asked else {}
    response = gateway.chat("echo", stream=True, **options)
    body = response.text
    assert ('"usage":{' in body) is asked
    assert body.endswith("data: [DONE]\n\n")
    assert upstream.bodies()[-1]["stream_options"]["include_usage"] is True
    assert gateway.line(response)["usage"] == "exact"


def test_unknown_fields_go_through(gateway: Gateway, upstream: Upstream) -> None:
    """Tools, vision parts, logprobs, seed and fields that nobody knows reach the upstream as they are, with a cap."""
    fields = {
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "response_format": {"type": "json_object"}, "logprobs": True, "top_logprobs": 2, "seed": 7, "n": 2,
        "structured_outputs": {"regex": "[a-z]+"}, "x_unknown": {"deep": [1, 2.5, None, "ü"]},
    }  # fmt: skip
    parts = [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
    body = {"model": "echo", "messages": [{"role": "user", "content": parts}], **fields}
    assert gateway.post("/v1/chat/completions", orjson.dumps(body)).status_code == 200
    assert upstream.bodies()[-1] == {**body, "model": "echo", "max_tokens": 512}


def test_caller_credentials_and_hop_by_hop_headers_stay_here(gateway: Gateway, upstream: Upstream) -> None:
    """None of the caller's credentials reaches the upstream, by header or body; hop-by-hop headers neither."""
    upstream.set(forbid=[KEY])
    headers = {
        "x-api-key": KEY,
        "connection": "keep-alive, te",
        "te": "trailers",
        "cookie": "a=b",
        "x-forwarded-for": "1.2.3.4",
    }
    body = orjson.dumps({"model": "echo", "messages": [{"role": "user", "content": "hi"}]})
    assert gateway.post("/v1/chat/completions", body, headers=headers).status_code == 200


BAD_BODIES = {
    "not json": (b"{", None), "empty": (b"", None), "array": (b"[]", None), "bad utf-8": (b'{"model": "\xff"}', None),
    "no model": (b'{"messages": [{"role": "user", "content": "x"}]}', "model"),
    "model is a number": (b'{"model": 1, "messages": [{"role": "user"}]}', "model"),
    "no messages": (b'{"model": "echo"}', "messages"), "no message": (b'{"model": "echo", "messages": []}', "messages"),
    "message is text": (b'{"model": "echo", "messages": ["hi"]}', "messages[0]"),
    "content is a number": (b'{"model": "echo", "messages": [{"role": "user", "content": 5}]}', "messages[0].content"),
    "stream is text": (b'{"model": "echo", "stream": "yes", "messages": [{"role": "user", "content": "x"}]}', "stream"),
    "n is zero": (b'{"model": "echo", "n": 0, "messages": [{"role": "user", "content": "x"}]}', "n"),
    "cap": (b'{"model": "echo", "max_tokens": -1, "messages": [{"role": "user", "content": "x"}]}', "max_tokens"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_BODIES)
def test_bad_body(gateway: Gateway, upstream: Upstream, case: str) -> None:
    """A body that is no request: 400 `invalid_request`, the field named, no upstream call."""
    body, param = BAD_BODIES[case]
    response = gateway.post("/v1/chat/completions", body)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "invalid_request", param)
    assert upstream.stats()["requests"] == 0


def test_wrong_method(gateway: Gateway) -> None:
    """A GET of a data-plane path says what would be right."""
    response = gateway.get("/v1/chat/completions")
    assert (response.status_code, response.json()["error"]["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize(
    ("key", "headers", "status", "code"),
    [
        (None, {}, 401, "invalid_api_key"),
        ("wrong", {}, 401, "invalid_api_key"),
        (None, {"authorization": f"Basic {KEY}"}, 401, "invalid_api_key"),
        (KEY, {"x-api-key": "another"}, 401, "invalid_api_key"),
        (None, {"x-api-key": KEY}, 200, None),
        (None, {"api-key": KEY}, 200, None),
        (KEY, {"api-key": KEY}, 200, None),
    ],
)
def test_credentials(gateway: Gateway, key: str | None, headers: dict[str, str], status: int, code: str | None) -> None:
    """Three headers may carry the key; none, a wrong one and several that differ are refused."""
    body = orjson.dumps({"model": "echo", "messages": [{"role": "user", "content": "hi"}]})
    response = gateway.post("/v1/chat/completions", body, key=key, headers=headers)
    assert response.status_code == status
    assert response.json().get("error", {}).get("code") == code


def test_duplicate_headers(gateway: Gateway) -> None:
    """The same key twice is one credential; two different ones are none; two lengths are no request."""
    twice = chat_request("echo", stream=False, head=f"authorization: Bearer {KEY}\r\nconnection: close\r\n")
    assert exchange(gateway.url, twice).startswith(b"HTTP/1.1 200")
    other = chat_request("echo", stream=False, head="authorization: Bearer other\r\nconnection: close\r\n")
    assert exchange(gateway.url, other).startswith(b"HTTP/1.1 401")
    lengths = chat_request("echo", stream=False, head="content-length: 5\r\n")
    assert exchange(gateway.url, lengths).startswith(b"HTTP/1.1 400")


AS_STREAM = {"bad-json": "bad-json-0", "truncated": "empty-stream", "fail-404": "error-event-first-400"}
"""The same fault before the first byte of a stream."""


@pytest.mark.parametrize(
    ("model", "status", "code", "outcome"),
    [
        ("fail-400", 400, None, "upstream_rejected"), ("fail-404", 404, None, "upstream_rejected"),
        ("fail-401", 502, "upstream_error", "upstream_error"), ("fail-500", 502, "upstream_error", "upstream_error"),
        ("html", 502, "upstream_error", "upstream_error"), ("bad-json", 502, "upstream_error", "upstream_error"),
        ("empty-body", 502, "upstream_error", "upstream_error"), ("truncated", 502, "upstream_error", "upstream_error"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_upstream_that_fails(
    gateway: Gateway, model: str, status: int, code: str | None, outcome: str, *, stream: bool
) -> None:
    """Each failure has its status, code and outcome, the same for stream and whole answer; no address is told."""
    model = AS_STREAM.get(model, model) if stream else model
    response = gateway.chat(model, stream=stream)
    error = response.json()["error"]
    assert response.status_code == (400 if model == "error-event-first-400" else status)
    assert code is None or error["code"] == code
    assert error["message"]
    assert "127.0.0.1" not in response.text
    assert gateway.line(response)["outcome"] == outcome


def test_upstream_rate_limit_keeps_retry_after(gateway: Gateway) -> None:
    """An upstream's 429 that cannot be waited for reaches the caller with its `retry-after`."""
    response = gateway.chat("rate-limited-7", stream=False)
    assert response.status_code == 429
    assert response.headers["retry-after"] == "7"
    assert response.json()["error"]["code"] == "rate_limit_exceeded"
    assert gateway.line(response)["outcome"] == "upstream_error"


@pytest.mark.parametrize(
    "model", ["error-event-after-3", "dies-after-3+answer-9", "bad-json-3+answer-9", "no-done+no-finish+answer-4"]
)
def test_stream_that_breaks(gateway: Gateway, model: str) -> None:
    """After the first byte a failure is an event that the OpenAI SDK raises; what was counted is charged."""
    before = len(gateway.lines())
    with gateway.sdk() as client, pytest.raises(openai.APIError) as raised:
        for _ in client.chat.completions.create(model=model, stream=True, messages=GO):
            pass
    assert "127.0.0.1" not in str(raised.value)
    line = gateway.lines(before + 1)[-1]
    assert (line["outcome"], line["usage"]) == ("upstream_error", "at_least")
    assert line["output_tokens"] >= 3


def test_upstream_without_usage_is_counted(gateway: Gateway) -> None:
    """A finished stream without usage is charged by our own count, and marked so."""
    line = gateway.line(gateway.chat("no-usage+answer-5", stream=True))
    assert (line["usage"], line["output_tokens"]) == ("at_least", 5)


def test_reasoning_counts_as_output(gateway: Gateway) -> None:
    """Reasoning deltas go through, and are a part of the output."""
    response = gateway.chat("reasoning-4+answer-3", stream=True)
    assert response.text.count('"reasoning') >= 4
    assert gateway.line(response)["output_tokens"] == 7


def test_first_token_time_is_measured_at_the_caller(gateway: Gateway) -> None:
    """Time to first token holds the upstream's delay."""
    line = gateway.line(gateway.chat("answer-3+ttft-300ms", stream=True))
    assert 300 <= line["first_token_ms"] <= line["duration_ms"]


def test_sdk_tool_call(gateway: Gateway) -> None:
    """Tool calls arrive through the SDK, streamed and whole."""
    function: FunctionDefinition = {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}
    tools: list[ChatCompletionFunctionToolParam] = [{"type": "function", "function": function}]
    with gateway.sdk() as client:
        choice = client.chat.completions.create(model="tool-call", messages=GO, tools=tools).choices[0]
        (call,) = choice.message.tool_calls or []
        assert call.type == "function"
        assert call.function.name == "get_weather"
        assert choice.finish_reason == "tool_calls"
        chunks = client.chat.completions.create(model="tool-call", messages=GO, tools=tools, stream=True)
        deltas = [call for chunk in chunks for call in (chunk.choices[0].delta.tool_calls or []) if chunk.choices]
        assert any(delta.function and delta.function.name == "get_weather" for delta in deltas)


def test_completions_and_embeddings(gateway: Gateway) -> None:
    """The other two operations work through the SDK, and are recorded as what they are."""
    before = len(gateway.lines())
    with gateway.sdk() as client:
        assert client.completions.create(model="echo", prompt="a b c").choices[0].text
        pieces = [
            chunk.choices[0].text for chunk in client.completions.create(model="echo", prompt="a b c", stream=True)
        ]
        assert "".join(pieces)
        assert len(client.embeddings.create(model="echo", input=["a", "b"]).data) == 2
    assert [line["operation"] for line in gateway.lines(before + 3)[-3:]] == [
        "text_completion",
        "text_completion",
        "embeddings",
    ]


def test_nothing_secret_in_logs(gateway: Gateway) -> None:
    """Neither prompt text nor keys stand in what the gateway writes."""
    gateway.chat(text="xyzzy-secret-prompt")
    written = gateway.access_log.read_text() + gateway.messages.read_text()
    assert "xyzzy" not in written
    assert KEY not in written


def test_no_text_of_a_broken_answer_in_logs(gateway: Gateway) -> None:
    """A malformed event may hold a piece of the answer: the log says what it is, not what is in it."""
    response = gateway.chat("bad-json-3+answer-9", stream=True)
    line = gateway.line(response)
    assert line["outcome"] == "upstream_error"
    assert line["detail"] == "an event that is no JSON"


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"a":' * 100_000, b'{"model": "echo", "n": 1e999}', b"\xef\xbb\xbf{}"]
)
def test_json_that_is_a_trap(gateway: Gateway, body: bytes) -> None:
    """Depth, numbers beyond all bounds, a byte order mark: 400, at once."""
    assert gateway.post("/v1/chat/completions", body).status_code == 400


async def test_nobody_gets_what_is_anothers(gateway: Gateway) -> None:
    """Sixty callers at once, streams and whole answers, some of whom leave: each reads its own words alone."""
    async with gateway.async_sdk() as client:

        async def talk(number: int) -> None:
            words = " ".join(f"word{number}x{place}" for place in range(40))
            said: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": words}]
            if number % 3 == 0:
                whole = await client.chat.completions.create(model="echo", messages=said)
                assert whole.choices[0].message.content == words
                return
            text = ""
            async with await client.chat.completions.create(model="echo", messages=said, stream=True) as stream:
                async for chunk in stream:
                    text += chunk.choices[0].delta.content or ""
                    if number % 3 == 1 and len(text) > 50:
                        break
            assert words.startswith(text)
            assert text == words or number % 3 == 1

        await asyncio.gather(*(talk(number) for number in range(60)))


@pytest.mark.parametrize(
    ("model", "key", "error", "code"),
    [
        ("echo", "wrong", openai.AuthenticationError, "invalid_api_key"),
        ("hangs", LIMITED_KEY, openai.PermissionDeniedError, "model_not_allowed"),
        ("nobody", KEY, openai.NotFoundError, "model_not_found"),
        ("rate-limited-7", KEY, openai.RateLimitError, "rate_limit_exceeded"),
        ("fail-500", KEY, openai.InternalServerError, "upstream_error"),
    ],
)
def test_the_sdk_raises_what_it_should(
    gateway: Gateway, model: str, key: str, error: type[openai.APIStatusError], code: str
) -> None:
    """With our code, and the request's id."""
    with gateway.sdk(key) as client, pytest.raises(error) as raised:
        client.chat.completions.create(model=model, messages=GO)
    assert raised.value.code == code
    assert (raised.value.request_id or "").startswith("req_")
