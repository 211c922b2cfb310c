"""Other clients than OpenAI's chat before a real model: Anthropic's SDK, responses, counting; in their own shapes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from anthropic import Anthropic, AsyncAnthropic, BadRequestError, NotFoundError
from openai import OpenAI
from openai.types.responses import ResponseFunctionToolCall
from pydantic import BaseModel

from tests.providers.dialogues import PNG
from tests.support.vllm import KEY, Front
from tests.vllm.test_chat import PERSON, WEATHER

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

COLD: Any = {"extra_body": {"temperature": 0}}
"""Anthropic's SDK has no name for it any more: its newest models refuse it."""
PARIS: Any = [{"role": "user", "content": "What is the capital of France?"}]
FUNCTION: Any = WEATHER["function"]
TOOL: Any = {"name": "get_weather", "description": FUNCTION["description"], "input_schema": FUNCTION["parameters"]}


class Person(BaseModel):
    """A form for an answer."""

    name: str
    age: int


@pytest.fixture
def claude(front: Front) -> Iterator[Anthropic]:
    """Anthropic's SDK at the gateway."""
    with Anthropic(base_url=front.url, api_key=KEY, max_retries=0, timeout=120) as sdk:
        yield sdk


@pytest_asyncio.fixture
async def async_claude(front: Front) -> AsyncIterator[AsyncAnthropic]:
    """The asynchronous one."""
    async with AsyncAnthropic(base_url=front.url, api_key=KEY, max_retries=0, timeout=120) as sdk:
        yield sdk


# --- Anthropic's SDK on /v1/messages


def test_a_message(claude: Anthropic, front: Front) -> None:
    """The model knows; usage is in Anthropic's words, and is what the gateway charged."""
    raw = claude.messages.with_raw_response.create(
        model="chat", max_tokens=24, messages=PARIS, system="Be brief.", **COLD
    )
    made = raw.parse()
    (block,) = made.content
    assert block.type == "text"
    assert "Paris" in block.text
    assert made.stop_reason == "end_turn"
    line = front.line(raw.headers["x-request-id"])
    assert (line["input_tokens"], line["output_tokens"]) == (made.usage.input_tokens, made.usage.output_tokens)


async def test_a_streamed_message_is_the_same(async_claude: AsyncAnthropic) -> None:
    """Piece by piece, put together by the SDK; a cap ends it, and says so."""
    asked: Any = {"model": "chat", "max_tokens": 5, "messages": PARIS, **COLD}
    async with async_claude.messages.stream(**asked) as stream:
        pieces = [text async for text in stream.text_stream]
        made = await stream.get_final_message()
    whole = await async_claude.messages.create(**asked)
    assert "".join(pieces) == whole.content[0].text == made.content[0].text  # type: ignore[union-attr]
    assert (made.stop_reason, whole.stop_reason) == ("max_tokens", "max_tokens")
    assert made.usage.output_tokens == whole.usage.output_tokens == 5


def test_a_tool_and_its_result(claude: Anthropic) -> None:
    """Called by force, since this model would not by itself; streamed too; the result goes back."""
    asked: Any = {"model": "chat", "max_tokens": 80, "tools": [TOOL], **COLD}
    forced: Any = {"tool_choice": {"type": "tool", "name": "get_weather"}}
    question: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
    made = claude.messages.create(**asked, **forced, messages=question)
    assert made.stop_reason == "tool_use"
    (call,) = [block for block in made.content if block.type == "tool_use"]
    assert call.name == "get_weather"
    with claude.messages.stream(**asked, **forced, messages=question) as stream:
        (again,) = [block for block in stream.get_final_message().content if block.type == "tool_use"]
    assert again.input == call.input
    sound = {"type": "tool_use", "id": call.id, "name": call.name, "input": {"city": "Paris"}}
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "18 °C and sunny"}
    turns = [*question, {"role": "assistant", "content": [sound]}, {"role": "user", "content": [result]}]
    assert claude.messages.create(**asked, messages=turns).usage.input_tokens > made.usage.input_tokens


def test_a_message_by_a_schema(claude: Anthropic) -> None:
    """Anthropic's `output_config` becomes vLLM's guided decoding."""
    made = claude.messages.create(
        model="chat",
        max_tokens=60,
        messages=[{"role": "user", "content": "Invent a person."}],
        output_config={"format": {"type": "json_schema", "schema": PERSON}},
        **COLD,
    )
    assert Person.model_validate_json(made.content[0].text).name


def test_stop_sequences(claude: Anthropic) -> None:
    """Met, and named."""
    made = claude.messages.create(model="chat", max_tokens=40, messages=PARIS, stop_sequences=["France"], **COLD)
    assert (made.stop_reason, made.stop_sequence) == ("stop_sequence", "France")


def test_counting_is_vllms_own(claude: Anthropic, front: Front) -> None:
    """Exactly what the prompt takes, tools and system included; it costs nothing."""
    counted = claude.messages.count_tokens(model="chat", messages=PARIS, system="Be brief.")
    made = claude.messages.create(model="chat", max_tokens=1, messages=PARIS, system="Be brief.")
    assert counted.input_tokens == made.usage.input_tokens
    assert claude.messages.count_tokens(model="chat", messages=PARIS, tools=[TOOL]).input_tokens > counted.input_tokens


def test_mistakes_are_anthropics(claude: Anthropic) -> None:
    """Their classes; vLLM's words where it is vLLM that refuses."""
    with pytest.raises(NotFoundError):
        claude.messages.create(model="nobody", max_tokens=9, messages=PARIS)
    image: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    with pytest.raises(BadRequestError, match="multimodal"):
        claude.messages.create(model="chat", max_tokens=9, messages=[{"role": "user", "content": [image]}])


# --- OpenAI's SDK on /v1/responses


def test_a_response(client: OpenAI) -> None:
    """Whole, with usage; nothing is stored."""
    made = client.responses.create(model="chat", input="What is the capital of France?", store=False, temperature=0)
    assert "Paris" in made.output_text
    assert (made.status, made.to_dict()["store"]) == ("completed", False)
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens


def test_a_streamed_response(client: OpenAI) -> None:
    """Its pieces are the whole, numbered without a gap; a cap makes it incomplete."""
    asked: Any = {"model": "chat", "input": "Describe a river.", "store": False, "temperature": 0}
    events = list(client.responses.create(**asked, max_output_tokens=16, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    last = events[-1]
    assert last.type == "response.incomplete"
    assert last.response.output_text == text
    assert last.response.incomplete_details is not None
    assert last.response.incomplete_details.reason == "max_output_tokens"


def test_a_response_calls_a_function(client: OpenAI) -> None:
    """And goes on with what it gave."""
    tool: Any = {"type": "function", **FUNCTION}
    asked: Any = {"model": "chat", "store": False, "temperature": 0, "tools": [tool]}
    made = client.responses.create(
        **asked, input="Weather in Paris?", tool_choice={"type": "function", "name": "get_weather"}
    )
    (call,) = [item for item in made.output if isinstance(item, ResponseFunctionToolCall)]
    assert (call.name, bool(json.loads(call.arguments))) == ("get_weather", True)  # this model's may be no object
    given: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "18 °C"}
    turns: Any = [{"role": "user", "content": "Weather in Paris?"}, call.to_dict(), given]
    again = client.responses.create(**asked, input=turns, tool_choice="none")
    assert again.status == "completed"


def test_a_response_by_a_schema(client: OpenAI) -> None:
    """Parsed by the SDK."""
    made = client.responses.parse(
        model="chat", input="Invent a person with a short name.", text_format=Person, store=False, temperature=0,
        max_output_tokens=80,
    )  # fmt: skip
    assert isinstance(made.output_parsed, Person)


# --- counting


def test_tokenize(front: Front, claude: Anthropic) -> None:
    """A text, with the tokens themselves, and a conversation, as vLLM's template writes it."""
    ask = partial(httpx2.post, f"{front.url}/tokenize", headers={"authorization": f"Bearer {KEY}"}, timeout=60)
    text = ask(json={"model": "chat", "prompt": "The gate opens."}).json()
    assert text["count"] == len(text["tokens"]) > 3
    chat = ask(json={"model": "chat", "messages": PARIS}).json()
    assert chat["count"] == claude.messages.count_tokens(model="chat", messages=PARIS).input_tokens == 37
