"""The real SDK on `/v1/messages`, with Anthropic's dialect behind it and with OpenAI's; OpenAI's SDK on Anthropic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import orjson
import pytest

from app.api.messages.surface import MessagesSurface
from app.errors import OVERLOADED, GatewayError
from app.exchange import Operation
from app.pipeline.progress import Progress
from tests.providers.dialogues import PNG, SCHEMA
from tests.support.gateway import KEY, Gateway
from tests.support.providers import one_each_provider
from tests.support.upstream import Upstream
from tests.support.vendor import anthropic_request

BEHAVIOURS = [
    "echo", "answer-5", "tool-call-2", "reasoning-4+answer-3+cached-1", "answer-50+pace-20ms", "fail-529",
    "rate-limited-7", "error-event-after-2-500", "content-filter+answer-2",
]  # fmt: skip
PROVIDERS = ["anthropic", "vllm"]
TOOL: Any = {"name": "get_weather", "description": "d", "input_schema": SCHEMA}


@pytest.fixture(scope="module")
def gateway(upstream_process: Upstream) -> Iterator[Gateway]:
    """Each behaviour behind either dialect: `anthropic-echo`, `vllm-echo`."""
    with Gateway(one_each_provider(upstream_process.url, PROVIDERS, BEHAVIOURS)) as running:
        yield running


@pytest.fixture
def sdk(gateway: Gateway, upstream: Upstream) -> Iterator[anthropic.Anthropic]:
    """Anthropic's SDK; every request that reached Anthropic's wire is valid by its types."""
    with anthropic.Anthropic(base_url=gateway.url, api_key=KEY, max_retries=0, timeout=30) as client:
        yield client
    for request in upstream.requests():
        if request["path"] == "/v1/messages":
            assert anthropic_request(orjson.loads(request["body"])) == []


def ask(model: str, text: str = "a b c", **fields: Any) -> dict[str, Any]:
    """The arguments of a request."""
    return {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": text}], **fields}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_text_whole_and_streamed(sdk: anthropic.Anthropic, gateway: Gateway, provider: str) -> None:
    """The same message either way, and the same bill."""
    whole = sdk.messages.with_raw_response.create(**ask(f"{provider}-answer-5", system="Be brief."))
    message = whole.parse()
    assert message.content[0].type == "text"
    assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", 5)
    assert gateway.line(whole.http_response)["output_tokens"] == 5
    with sdk.messages.stream(**ask(f"{provider}-answer-5", system="Be brief.")) as stream:
        streamed = stream.get_final_message()
    assert streamed.content[0].model_dump(exclude={"parsed_output"}) == message.content[0].model_dump()
    assert (streamed.usage.input_tokens, streamed.usage.output_tokens) == (message.usage.input_tokens, 5)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_whole_tool_loop(sdk: anthropic.Anthropic, provider: str, *, stream: bool) -> None:
    """Parallel calls, their results, an image in one of them; then the answer."""
    asked = ask(f"{provider}-tool-call-2", tools=[TOOL], tool_choice={"type": "any"})
    if stream:
        with sdk.messages.stream(**asked) as events:
            message = events.get_final_message()
    else:
        message = sdk.messages.create(**asked)
    calls = [block for block in message.content if block.type == "tool_use"]
    assert [(call.name, call.input["city"]) for call in calls] == [("get_weather", "Paris")] * 2
    assert message.stop_reason == "tool_use"
    results: list[Any] = [{"type": "tool_result", "tool_use_id": call.id, "content": "18"} for call in calls]
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    said = [block.model_dump(exclude_none=True, exclude={"caller"}) for block in message.content]
    results[0]["content"] = [{"type": "text", "text": "18"}, image]
    asked["messages"] += [{"role": "assistant", "content": said}, {"role": "user", "content": results}]
    assert sdk.messages.create(**{**asked, "tool_choice": {"type": "auto"}}).stop_reason == "end_turn"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_thoughts_and_usage(sdk: anthropic.Anthropic, provider: str) -> None:
    """Thoughts come as blocks, cached tokens are a part of the input, reasoning a part of the output."""
    with sdk.messages.stream(**ask(f"{provider}-reasoning-4+answer-3+cached-1")) as stream:
        message = stream.get_final_message()
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert (message.usage.output_tokens, message.usage.cache_read_input_tokens) == (7, 1)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_counting(sdk: anthropic.Anthropic, gateway: Gateway, provider: str) -> None:
    """By whoever serves the model; it costs nothing."""
    asked = ask(f"{provider}-echo")
    del asked["max_tokens"]
    raw = sdk.messages.with_raw_response.count_tokens(**asked)
    assert raw.parse().input_tokens > 3
    assert gateway.line(raw.http_response)["cost_usd"] == 0


@pytest.mark.parametrize("provider", PROVIDERS)
def test_errors(sdk: anthropic.Anthropic, provider: str) -> None:
    """As the SDK's own exceptions, before and inside a stream."""
    with pytest.raises(anthropic.RateLimitError) as limited:
        sdk.messages.create(**ask(f"{provider}-rate-limited-7"))
    assert limited.value.response.headers["retry-after"] == "7"
    with pytest.raises(anthropic.APIStatusError) as busy:
        sdk.messages.create(**ask(f"{provider}-fail-529"))
    assert busy.value.status_code == 503
    with (
        pytest.raises(anthropic.APIStatusError, match="upstream"),
        sdk.messages.stream(**ask(f"{provider}-error-event-after-2-500")) as stream,
    ):
        stream.get_final_message()
    with pytest.raises(anthropic.NotFoundError):
        sdk.messages.create(**ask("nobody"))
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        sdk.messages.create(**ask(f"{provider}-echo") | {"max_tokens": 0})


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_caller_that_leaves_is_noticed_upstream(
    sdk: anthropic.Anthropic, gateway: Gateway, upstream: Upstream, provider: str
) -> None:
    """And pays for what was made, no more than the allowance beyond."""
    with sdk.messages.stream(**ask(f"{provider}-answer-50+pace-20ms")) as stream:
        for _ in range(6):
            next(stream)
        request_id = stream.response.headers["x-request-id"]
    assert upstream.wait(lambda stats: stats["running"] == 0)["disconnects"] == 1
    gateway.until(lambda: any(line["request_id"] == request_id for line in gateway.lines()))
    (line,) = [line for line in gateway.lines() if line["request_id"] == request_id]
    assert (line["outcome"], line["usage"]) == ("client_closed", "at_least")
    assert upstream.find(request_id)["made"] <= line["output_tokens"] < 50


def test_openais_sdk_on_anthropic(gateway: Gateway, upstream: Upstream) -> None:
    """Text, tools in parallel, JSON by a schema, a refusal; whole and streamed; what cannot be done is named."""
    with gateway.sdk() as client:
        asked: dict[str, Any] = {"messages": [{"role": "user", "content": "a b"}]}
        schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
        made = client.chat.completions.create(model="anthropic-echo", response_format=schema, **asked)  # type: ignore[call-overload]
        assert made.choices[0].message.content == '{"city":"Paris","days":1}'
        with client.chat.completions.stream(model="anthropic-tool-call-2", **asked) as stream:
            calls = stream.get_final_completion().choices[0].message.tool_calls
        assert [call.function.arguments for call in calls or ()] == ['{"city":"Paris"}'] * 2
        cut = client.chat.completions.create(model="anthropic-content-filter+answer-2", **asked)
        assert cut.choices[0].finish_reason == "content_filter"
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(model="anthropic-echo", seed=7, **asked)
        assert refused.value.param == "seed"
    assert len(upstream.log()) == 3


def test_errors_of_the_surface() -> None:
    """Its documents and its stream's ends have Anthropic's shape."""
    error = GatewayError(OVERLOADED, "busy")
    assert MessagesSurface().document(error, "req_1")["type"] == "error"
    assert b"event: error" in MessagesSurface().writer(Progress("req_1", Operation.CHAT)).end(error)
