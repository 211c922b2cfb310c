"""The real SDK on `/v1/responses`, over providers that have no such thing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import orjson
import pydantic
import pytest

from app.api.responses.surface import ResponsesSurface
from app.errors import OVERLOADED, GatewayError
from app.exchange import Operation
from app.pipeline.progress import Progress
from tests.providers.dialogues import SCHEMA
from tests.support.gateway import Gateway
from tests.support.providers import one_each_provider
from tests.support.upstream import Upstream

PROVIDERS = ["vllm", "anthropic", "gemini"]
BEHAVIOURS = [
    "echo",
    "answer-5",
    "tool-call-2",
    "reasoning-4+answer-3+cached-1",
    "rate-limited-7",
    "error-event-after-2-500",
]
TOOL: Any = {"type": "function", "name": "get_weather", "description": "d", "parameters": SCHEMA, "strict": True}


class Trip(pydantic.BaseModel):
    """A form for an answer."""

    city: str
    days: int


@pytest.fixture(scope="module")
def gateway(upstream_process: Upstream) -> Iterator[Gateway]:
    """Each behaviour behind each dialect."""
    with Gateway(one_each_provider(upstream_process.url, PROVIDERS, BEHAVIOURS)) as running:
        yield running


@pytest.fixture
def sdk(gateway: Gateway, upstream: Upstream) -> Iterator[openai.OpenAI]:
    """OpenAI's SDK."""
    with gateway.sdk() as client:
        yield client


@pytest.fixture
async def async_sdk(gateway: Gateway, upstream: Upstream) -> AsyncIterator[openai.AsyncOpenAI]:
    """The same, async."""
    async with gateway.async_sdk() as client:
        yield client


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_text_whole_and_streamed(async_sdk: openai.AsyncOpenAI, gateway: Gateway, provider: str) -> None:
    """The same either way, thoughts and usage included."""
    asked: dict[str, Any] = {"model": f"{provider}-reasoning-4+answer-3+cached-1", "input": "a b", "store": False}
    whole = await async_sdk.responses.create(**asked, instructions="Be brief.")
    assert (whole.status, [item.type for item in whole.output]) == ("completed", ["reasoning", "message"])
    assert whole.usage is not None
    assert (whole.usage.output_tokens, whole.usage.output_tokens_details.reasoning_tokens) == (7, 4)
    assert whole.usage.input_tokens_details.cached_tokens == 1
    async with async_sdk.responses.stream(**asked, instructions="Be brief.") as stream:
        streamed = await stream.get_final_response()
    assert (streamed.output_text, streamed.usage) == (whole.output_text, whole.usage)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_whole_tool_loop(sdk: openai.OpenAI, provider: str) -> None:
    """Streamed calls, sent back as they came with their results; then the answer."""
    asked: list[Any] = [{"role": "user", "content": "weather?"}]
    given: dict[str, Any] = {"model": f"{provider}-tool-call-2", "tools": [TOOL], "store": False}
    with sdk.responses.stream(input=asked, **given) as stream:
        first = stream.get_final_response()
    calls = [item for item in first.output if item.type == "function_call"]
    assert [(call.name, orjson.loads(call.arguments)["city"]) for call in calls] == [("get_weather", "Paris")] * 2
    asked += [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in first.output]
    asked += [{"type": "function_call_output", "call_id": call.call_id, "output": "18"} for call in calls]
    assert sdk.responses.create(input=asked, **given).output_text


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_answer_in_a_form(sdk: openai.OpenAI, provider: str) -> None:
    """Parsed by the SDK."""
    found = sdk.responses.parse(model=f"{provider}-echo", input="trip", text_format=Trip, store=False)
    assert found.output_parsed == Trip(city="Paris", days=1)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_errors(sdk: openai.OpenAI, provider: str) -> None:
    """As the SDK's own exceptions, before and inside a stream; storage is refused by name."""
    with pytest.raises(openai.RateLimitError) as limited:
        sdk.responses.create(model=f"{provider}-rate-limited-7", input="x")
    assert limited.value.response.headers["retry-after"] == "7"
    with pytest.raises(openai.APIError, match="upstream"):
        list(sdk.responses.create(model=f"{provider}-error-event-after-2-500", input="x", stream=True))
    with pytest.raises(openai.BadRequestError) as stored:
        sdk.responses.create(model=f"{provider}-echo", input="x", previous_response_id="resp_1")
    assert stored.value.param == "previous_response_id"


def test_parts_of_the_surface() -> None:
    """Errors are OpenAI's; a stream's end tells of one."""
    error = GatewayError(OVERLOADED, "busy")
    assert ResponsesSurface().document(error, "req_1") == error.document()
    assert b"response.failed" in ResponsesSurface().writer(Progress("req_1", Operation.CHAT)).end(error)
    raw = orjson.dumps({"model": "m", "input": "x"})
    assert ResponsesSurface().understand(Operation.CHAT, raw).body["messages"] == [{"role": "user", "content": "x"}]
